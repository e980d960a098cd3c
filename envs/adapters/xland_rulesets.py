"""Rulesets of XLand-MiniGrid: drawn here by a seed, or read from a file.

  python -m metarl_jax.envs.adapters.xland_rulesets small rulesets.npz --num-rulesets 100000
  metarl train rl2 --env xland --env.benchmark rulesets.npz

A ruleset is a goal, rules by which tiles become other tiles, and the tiles that lie in the grid at first. The goal
needs tiles that only rules make, so that the agent must find out what to bring together.

References:
  Nikulin et al., "XLand-MiniGrid: Scalable Meta-Reinforcement Learning Environments in JAX", NeurIPS 2024: the encoding
    of rulesets, and the recipes of its benchmarks.
  Open-Ended Learning Team et al., "Human-Timescale Adaptation in an Open-Ended Task Space", 2023, appendix A.2.
"""

import dataclasses
import functools
import itertools
import random
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from metarl_jax.core.errors import UserError
from metarl_jax.core.registry import suggestion

Tile = tuple[int, int]
"""Shape and colour."""

_COLORS = (1, 2, 3, 4, 5, 6, 8, 9, 10, 11)
_MOVABLE = (3, 4, 5, 7, 11, 12)  # ball, square, pyramid, key, hexagon, star
_MOVABLE_TILES: list[Tile] = list(itertools.product(_MOVABLE, _COLORS))
_TILES: list[Tile] = [*_MOVABLE_TILES, *itertools.product((6,), _COLORS)]  # and goal tiles
_PRODUCED: list[Tile] = [*_MOVABLE_TILES, (1, 7)]  # black floor: what was there disappears

# Codes of goals and rules in the library: to hold a tile, to be near one (anywhere, or on one side), and to have two
# tiles near each other (anywhere, or one on one side of the other).
_GOALS = {"hold": (1,), "near": (3, 11, 12, 13, 14), "pair": (4, 7, 8, 9, 10)}
_RULES = {"hold": (1,), "near": (2, 8, 9, 10, 11), "pair": (3, 4, 5, 6, 7)}


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How rulesets are drawn.

    Attributes:
      depth: levels of rules that lead to the goal; 0 for a goal that can be reached at once.
      prune: chance that a tile lies in the grid, instead of being made by another rule.
      max_distractor_rules: the number of rules that lead nowhere is uniform from 0 to this.
      num_distractor_tiles: tiles that nothing needs.
    """

    depth: int
    prune: float = 0.0
    max_distractor_rules: int = 0
    num_distractor_tiles: int = 0


RECIPES = {
    "trivial": Recipe(0, num_distractor_tiles=3),
    "small": Recipe(1, 0.3, 2, 2),
    "medium": Recipe(2, 0.1, 3, 2),
    "high": Recipe(3, 0.1, 4, 1),
}
"""The recipes of the published benchmarks, by name."""


class Rulesets(NamedTuple):
    """A table of M rulesets: `goals` `[M, 5]`, `rules` `[M, R, 7]` and `init_tiles` `[M, T, 2]`, all uint8."""

    goals: np.ndarray
    rules: np.ndarray
    init_tiles: np.ndarray


@functools.lru_cache(maxsize=4)
def find(benchmark: str, num_rulesets: int, seed: int) -> Rulesets:
    """Returns the rulesets of a benchmark.

    Args:
      benchmark: a recipe, by which `num_rulesets` are drawn from `seed`; or a file: `.npz` as this module writes it, or
        one of the library's own (a pickle, which can run any code: open only files that you trust).

    Raises:
      UserError: if there is neither a recipe nor a file of that name, or the file cannot be read.
    """
    if benchmark in RECIPES:
        return draw(RECIPES[benchmark], num_rulesets, seed)
    path = Path(benchmark).expanduser()
    if not path.is_file():
        hint = suggestion(benchmark, list(RECIPES)) or f": choose one of {', '.join(RECIPES)}"
        raise UserError(f"env.benchmark={benchmark!r} is neither a recipe nor a file{hint}")
    try:
        if path.suffix == ".npz":
            with np.load(path) as arrays:
                return Rulesets(**{name: arrays[name] for name in Rulesets._fields})
        from xminigrid.benchmarks import load_bz2_pickle

        arrays = load_bz2_pickle(str(path))
        return Rulesets(*(np.asarray(arrays[name]) for name in Rulesets._fields))
    except Exception as error:
        raise UserError(
            f"env.benchmark={benchmark!r} cannot be read as rulesets ({type(error).__name__}: {error})"
        ) from error


def draw(recipe: Recipe, num_rulesets: int, seed: int) -> Rulesets:
    """Draws different rulesets; the same for the same seed.

    Raises:
      UserError: if the recipe has too few rulesets that differ.
    """
    source, found, num_repeats = random.Random(seed), dict[tuple, None](), 0
    while len(found) < num_rulesets:
        ruleset = _draw_one(recipe, source)
        num_repeats = num_repeats + 1 if ruleset in found else 0
        found[ruleset] = None
        if num_repeats == 200:
            raise UserError(
                f"num_rulesets={num_rulesets} different rulesets were not found: choose {len(found)} or fewer"
            )
    goals, rules, tiles = zip(*found, strict=True)
    return Rulesets(np.array(goals, np.uint8), _padded(rules, 7), _padded(tiles, 2))


def _draw_one(recipe: Recipe, source: random.Random) -> tuple:
    """Returns a goal, rules and initial tiles."""
    goal, wanted = _draw_condition(_GOALS, source, (), goal_tiles_too=True)
    used, rules, initial = [*wanted], list[tuple[int, ...]](), list[Tile]()
    if recipe.depth == 0:
        initial.extend(wanted)
    for level in range(recipe.depth):
        needed = list[Tile]()
        for tile in wanted:
            if source.random() < recipe.prune:
                initial.append(tile)
                continue
            condition, tiles = _draw_condition(_RULES, source, used, goal_tiles_too=False)
            rules.append(_with_product(condition, tile))
            used.extend(tiles)
            needed.extend(tiles)
        wanted = needed
        if level == recipe.depth - 1:
            initial.extend(needed)
    unused = [tile for tile in _TILES if tile not in used]
    initial.extend(source.choices(unused, k=recipe.num_distractor_tiles))
    for _ in range(source.randint(0, recipe.max_distractor_rules)):
        product = source.choice([tile for tile in _PRODUCED if tile not in used])
        condition, tiles = _draw_condition(_RULES, source, (), goal_tiles_too=False)
        rules.append(_with_product(condition, product))
        initial.extend(tiles)
    return tuple(goal), tuple(rules) or ((0,) * 7,), tuple(initial)


def _draw_condition(
    codes: dict[str, tuple[int, ...]], source: random.Random, used: Any, *, goal_tiles_too: bool
) -> tuple[tuple[int, ...], tuple[Tile, ...]]:
    """Returns a goal or the first part of a rule, five numbers, and the tiles that it needs.

    Args:
      codes: of goals, or of rules.
      used: tiles that it must not need.
      goal_tiles_too: whether goal tiles, which cannot be moved, may be near the agent.
    """
    kind, code = source.choice([(kind, code) for kind, all in codes.items() for code in all])

    def pick(tiles: list[Tile]) -> Tile:
        return source.choice([tile for tile in tiles if tile not in used])

    if kind == "pair":
        tiles = pick(_TILES), pick(_MOVABLE_TILES)
        return (code, *tiles[0], *tiles[1]), tiles
    tile = pick(_TILES if kind == "near" and goal_tiles_too else _MOVABLE_TILES)
    return (code, *tile, 0, 0), (tile,)


def _with_product(condition: tuple[int, ...], product: Tile) -> tuple[int, ...]:
    """Returns a rule, seven numbers; the library writes the product directly after the tiles."""
    code, first, second = condition[0], condition[1:3], condition[3:]
    return (
        (code, *first, *second, *product)
        if code in _RULES["pair"]
        else (code, *first, *product, 0, 0)
    )


def _padded(rows: Any, width: int) -> np.ndarray:
    """Returns lists of different lengths as one array `[M, longest, width]`, filled with zeros."""
    table = np.zeros((len(rows), max(map(len, rows)), width), np.uint8)
    for target, row in zip(table, rows, strict=True):
        if row:
            target[: len(row)] = row
    return table


def main(args: list[str] | None = None) -> None:
    """Writes rulesets to a file."""
    import argparse

    parser = argparse.ArgumentParser(prog="python -m metarl_jax.envs.adapters.xland_rulesets")
    parser.add_argument("recipe", choices=RECIPES)
    parser.add_argument("file", type=Path, help="ends with .npz; must not exist")
    parser.add_argument("--num-rulesets", type=int, default=21_000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(args)
    if given.file.suffix != ".npz" or given.file.exists():
        parser.error(f"{given.file} must end with .npz and must not exist")
    try:
        table = draw(RECIPES[given.recipe], given.num_rulesets, given.seed)
    except UserError as error:
        parser.error(str(error))
    np.savez_compressed(given.file, **table._asdict())
    print(f"{given.num_rulesets} rulesets with up to {table.rules.shape[1]} rules: {given.file}")


if __name__ == "__main__":
    main()
