"""XLand-MiniGrid: rulesets as its own code writes them, episodes as its own simulator runs them, and bad use."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metarl_jax import envs
from metarl_jax.cli.main import main
from metarl_jax.core.errors import UserError
from metarl_jax.envs.adapters import xland_rulesets
from metarl_jax.envs.adapters.xland_rulesets import RECIPES, Recipe, draw, find
from metarl_jax.testing import check_env

with jax.ensure_compile_time_eval():
    import xminigrid
    from xminigrid.benchmarks import save_bz2_pickle
    from xminigrid.core import goals, rules
    from xminigrid.types import RuleSet

GOALS = {
    1: goals.AgentHoldGoal,
    3: goals.AgentNearGoal,
    4: goals.TileNearGoal,
    7: goals.TileNearUpGoal,
    8: goals.TileNearRightGoal,
    9: goals.TileNearDownGoal,
    10: goals.TileNearLeftGoal,
    11: goals.AgentNearUpGoal,
    12: goals.AgentNearRightGoal,
    13: goals.AgentNearDownGoal,
    14: goals.AgentNearLeftGoal,
}
RULES = {
    1: rules.AgentHoldRule,
    2: rules.AgentNearRule,
    3: rules.TileNearRule,
    4: rules.TileNearUpRule,
    5: rules.TileNearRightRule,
    6: rules.TileNearDownRule,
    7: rules.TileNearLeftRule,
    8: rules.AgentNearUpRule,
    9: rules.AgentNearRightRule,
    10: rules.AgentNearDownRule,
    11: rules.AgentNearLeftRule,
}


def test_codes_are_those_of_the_library():
    """What is read from our numbers by the library's classes is written by them in the same way."""
    table = draw(RECIPES["medium"], 300, seed=1)
    kinds = set()
    for code in table.goals:
        goal = GOALS[int(code[0])].decode(jnp.asarray(code))
        np.testing.assert_array_equal(goal.encode(), code)
        kinds.add(int(code[0]))
    assert kinds == set(GOALS)
    kinds = set()
    for code in table.rules[:60].reshape(-1, 7):
        if code[0]:
            rule = RULES[int(code[0])].decode(jnp.asarray(code))
            np.testing.assert_array_equal(rule.encode(), code)
            kinds.add(int(code[0]))
    assert kinds == set(RULES)


def _needed(goal):
    return [tuple(goal[1:3])] + ([tuple(goal[3:5])] if goal[3] else [])


def _inputs_and_product(rule):
    if 3 <= rule[0] <= 7:
        return [tuple(rule[1:3]), tuple(rule[3:5])], tuple(rule[5:7])
    return [tuple(rule[1:3])], tuple(rule[3:5])


@pytest.mark.parametrize("name", RECIPES)
def test_every_goal_can_be_reached(name):
    """From the tiles that lie in the grid, by the rules, and within the levels of the recipe."""
    table = draw(RECIPES[name], 100, seed=2)
    lengths = []
    for goal, rule_rows, tiles in zip(*(x.tolist() for x in table), strict=True):
        at_hand = {tuple(tile) for tile in tiles if tile != [0, 0]}
        needed = set(_needed(goal))
        level = 0
        while not needed <= at_hand:
            made = {
                product
                for rule in rule_rows
                if rule[0]
                for inputs, product in [_inputs_and_product(rule)]
                if set(inputs) <= at_hand
            }
            assert not made <= at_hand, "no rule makes anything new"
            at_hand |= made
            level += 1
        lengths.append(level)
    assert max(lengths) <= RECIPES[name].depth
    assert max(lengths) == RECIPES[name].depth or name == "high"
    assert len({tuple(map(tuple, x)) for x in table.init_tiles.tolist()}) > 90


def test_rulesets_differ_and_are_the_same_for_a_seed():
    one, same, other = (draw(RECIPES["small"], 200, seed) for seed in (0, 0, 1))
    for x, y in zip(one, same, strict=True):
        np.testing.assert_array_equal(x, y)
    assert not np.array_equal(one.goals, other.goals)
    rows = np.concatenate([x.reshape(200, -1) for x in one], axis=1)
    assert len(np.unique(rows, axis=0)) == 200
    with pytest.raises(UserError, match="different rulesets were not found"):
        draw(Recipe(0), 100_000, 0)


def test_files(tmp_path, capsys):
    path = tmp_path / "rulesets.npz"
    xland_rulesets.main(["small", str(path), "--num-rulesets", "50", "--seed", "3"])
    assert "50 rulesets with up to" in capsys.readouterr().out
    expected = draw(RECIPES["small"], 50, 3)
    official = tmp_path / "small_50"
    save_bz2_pickle(expected._asdict() | {"num_rules": np.zeros(50)}, str(official))
    for file in (path, official):
        for x, y in zip(find(str(file), 0, 0), expected, strict=True):
            np.testing.assert_array_equal(x, y)
    with pytest.raises(SystemExit):
        xland_rulesets.main(["small", str(path)])
    (tmp_path / "broken.npz").write_text("nothing")
    with pytest.raises(UserError, match=r"broken\.npz' cannot be read as rulesets"):
        find(str(tmp_path / "broken.npz"), 0, 0)


def test_splits_share_no_ruleset():
    env = envs.make("xland", num_rulesets=40)
    keys = jax.random.split(jax.random.key(0), 300)
    held_out, trained = (
        {tuple(row) for row in np.concatenate([x.reshape(300, -1) for x in tasks], axis=1).tolist()}
        for tasks in (
            jax.vmap(lambda k, s=split: env.sample(k, s))(keys) for split in ("test", "train")
        )
    )
    assert len(held_out) == 4
    assert len(trained) == 36
    assert not held_out & trained


def test_episodes_are_those_of_the_library():
    env = envs.make("xland", num_rulesets=100)
    check_env(env)
    library, params = xminigrid.make("XLand-MiniGrid-R1-9x9")
    assert env.episode_length == params.max_steps == 243
    step, own_step = jax.jit(env.step), jax.jit(library.step)
    rewards = []
    for seed in range(12):
        task = env.sample(jax.random.key(seed))
        state = env.reset(task, jax.random.key(seed))
        given = params.replace(ruleset=RuleSet(*task))
        timestep = library.reset(given, jax.random.key(seed))
        for action in np.random.default_rng(seed).integers(0, 6, 243):
            np.testing.assert_array_equal(state.observation["tiles"], timestep.observation)
            assert state.observation["direction"] == timestep.state.agent.direction
            state, timestep = (
                step(task, state, jnp.int32(action)),
                own_step(given, timestep, jnp.int32(action)),
            )
            assert state.reward == pytest.approx(float(timestep.reward))
            assert bool(state.done) == (timestep.discount == 0.0)
            assert state.metrics["success"] == (timestep.discount == 0.0)
            if state.done:
                time = int(timestep.state.step_num)
                rewards.append(1 - 0.9 * time / 243)
                assert state.reward == pytest.approx(rewards[-1], rel=1e-5)
                break
    assert rewards


def test_a_shorter_horizon_scales_the_reward():
    env = envs.make("xland", num_rulesets=100, horizon=50)
    task = env.sample(jax.random.key(0))._replace(goal=jnp.array([3, 2, 6, 0, 0], jnp.uint8))
    state = env.reset(task, jax.random.key(0))  # Near a wall, which is grey.
    time = 0
    while not state.done:
        state, time = env.step(task, state, jnp.int32(0)), time + 1
    assert 0 < time < 9
    assert state.reward == pytest.approx(1 - 0.9 * time / 50, rel=1e-5)


def test_the_drawing_shows_where_the_agent_is():
    env = envs.make("xland", num_rulesets=20)
    task = env.sample(jax.random.key(0))
    states = [env.reset(task, jax.random.key(0))]
    for action in (0, 1, 0):
        states.append(env.step(task, states[-1], jnp.int32(action)))
    stacked = jax.tree.map(lambda *xs: np.stack(xs), *states)
    scene = env.render(jax.tree.map(np.asarray, task), stacked)
    assert len(scene.frames) == 4
    circles = [next(x for x in frame if type(x).__name__ == "Circle") for frame in scene.frames]
    for circle, (row, column) in zip(circles, stacked.simulator.agent.position, strict=True):
        assert (circle.x, circle.y) == (column + 0.5, 8.5 - row)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--env.id XLand-MiniGrid-R1-9x", "did you mean 'XLand-MiniGrid-R1-9x9'"),
        ("--env.benchmark trivia", "is neither a recipe nor a file; did you mean 'trivial'"),
    ],
)
def test_bad_use_is_one_line(words, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["train", "rl2", "--env", "xland", *words.split()]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert list(tmp_path.iterdir()) == []


def test_a_missing_library_is_told_with_the_remedy(monkeypatch):
    from metarl_jax.envs.adapters import xland_tasks

    xland_tasks.load.cache_clear()
    monkeypatch.setitem(sys.modules, "xminigrid", None)
    with pytest.raises(UserError, match=r"pip install 'metarl_jax\[xland\]'"):
        envs.make("xland").validate()
    xland_tasks.load.cache_clear()
