"""Exact Bayes-optimal returns: the highest expected return of a policy that knows the distribution, but not the task.

A mean return that is significantly above such a ceiling indicates a bug, in the environment or in the evaluation.
"""

import heapq
from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple

import numpy as np

MAX_BELIEFS = 50_000
"""Largest number of beliefs for which the ceiling of a bandit is computed; more would take more than a few seconds."""
MAX_TRIED = 1_750_000
"""Largest number of path prefixes times goals for which the ceiling of a grid is computed, for the same reason."""

Arm = tuple[int, int]
"""Successes and failures of an arm."""
Met = tuple[tuple[int, int, int], ...]
"""The (goal, episode, step) of every goal that a path meets."""


@cache
def bandit_ceiling(num_arms: int, num_pulls: int) -> np.ndarray | None:
    """Expected reward of each pull `[n]` of the Bayes-optimal policy, for Bernoulli arms with p ~ U[0, 1].

    Dynamic programming over the posterior, V(h) = max_a p_a (1 + V(h, a won)) + (1 − p_a) V(h, a lost) with
    p = (s + 1) / (s + f + 2). Arms are exchangeable: a belief is the multiset of the (successes, failures) of the arms
    that were pulled, and all others are one arm. Hence n arms are as good as any greater number.

    Returns:
      The rewards, or None where there are more than `MAX_BELIEFS` beliefs.
    """
    num_arms = min(num_arms, num_pulls)
    if num_beliefs(num_arms, num_pulls - 1, enough=MAX_BELIEFS) > MAX_BELIEFS:
        return None

    @cache
    def rewards(belief: tuple[Arm, ...], pulls_left: int) -> np.ndarray:
        if not pulls_left:
            return np.zeros(0)
        options = []
        for arm, rest in _choices(belief, num_arms):
            won, lost = ((arm[0] + 1, arm[1]), (arm[0], arm[1] + 1))
            chance = (arm[0] + 1) / (arm[0] + arm[1] + 2)
            later = [rewards(tuple(sorted((*rest, new))), pulls_left - 1) for new in (won, lost)]
            mixed = chance * later[0] + (1.0 - chance) * later[1]
            options.append(np.concatenate([[chance], mixed]))
        return max(options, key=np.sum)

    return rewards((), num_pulls)


def _choices(belief: tuple[Arm, ...], num_arms: int) -> Iterator[tuple[Arm, tuple[Arm, ...]]]:
    """Yields each distinct arm, and the belief without it."""
    if len(belief) < num_arms:
        yield (0, 0), belief
    for index, arm in enumerate(belief):
        if index == 0 or arm != belief[index - 1]:
            yield arm, belief[:index] + belief[index + 1 :]


def num_beliefs(num_arms: int, num_pulls: int, enough: float = np.inf) -> int:
    """Returns how many multisets of at most k arms, each pulled at least once, have n pulls or fewer in all.

    An arm that was pulled m times has m + 1 results: the coefficients of Π_m (1 − y xᵐ)^−(m+1), up to yᵏ and xⁿ.

    Args:
      num_arms: k.
      num_pulls: n.
      enough: the count stops once it exceeds this number, and is then a lower bound.
    """
    of_one_arm = (num_pulls + 1) * (num_pulls + 2) // 2
    if num_arms and of_one_arm > enough:
        return of_one_arm
    counts = np.zeros((num_arms + 1, num_pulls + 1))
    counts[0, 0] = 1.0
    for pulls in range(1, num_pulls + 1):
        for _ in range(pulls + 1):
            for arms in range(1, num_arms + 1):
                counts[arms, pulls:] += counts[arms - 1, : num_pulls + 1 - pulls]
            if counts.sum() > enough:
                return int(counts.sum())
    return int(counts.sum())


@cache
def search_ceiling(
    size: int, goals: tuple[tuple[int, int], ...], horizon: int, num_episodes: int
) -> np.ndarray | None:
    """Expected return of each episode `[K]` of the Bayes-optimal search for a goal in a grid, from its corner (0, 0).

    A step that ends on the goal pays 1, any other −0.1, as in `grid_navi`. Until the goal is met nothing is learned but
    where it is not, so that a policy is a path, broken off when it meets the goal: to stay there, and in later episodes
    to walk there straight, is then best. An episode in which the goal is met with step t returns
    (T − t + 1) − 0.1 (t − 1).

    The best path is found by A*. What is left to find is bounded by a path that meets a new goal with each step from
    now on, though none before its distance, and that knows in the next episode all that it has not met.

    Args:
      size: cells along a side.
      goals: the cells where the goal may be, all alike, without the corner.
      horizon: T.
      num_episodes: K.

    Returns:
      The returns, or None where they would take longer than `MAX_TRIED`.
    """
    search = _Search(size, goals, horizon, num_episodes)
    start = Node(0, 0, 0, (1 << len(goals)) - 1)
    best = {start: 0.0}
    # The greatest bound first; of equal ones the longest path, and then the latest.
    queue: list[tuple[Any, Node, float, Met]] = [
        ((-search.bound(start, 0.0), 0, 0, 0), start, 0.0, ())
    ]
    while queue:
        _, node, value, met = heapq.heappop(queue)
        if not node.left or node.episode == num_episodes:
            return search.returns(met)
        if best[node] > value:
            continue
        if len(best) * len(goals) > MAX_TRIED:
            return None
        for follower, goal in search.followers(node):
            total, now_met = value, met
            if goal is not None:
                total = value + search.worth(goal, node.episode, node.step + 1)
                now_met = (*met, (goal, node.episode, node.step + 1))
            if total > best.get(follower, -np.inf):
                best[follower] = total
                rank = -search.bound(follower, total), -follower.episode, -follower.step, -len(best)
                heapq.heappush(queue, (rank, follower, total, now_met))
    return None


class Node(NamedTuple):
    """The end of a path: episode, steps done in it, cell, and a bit mask of the goals that it has not met."""

    episode: int
    step: int
    cell: int
    left: int


class _Search:
    """The problem of `search_ceiling`. Values are sums over the goals of returns of all episodes."""

    def __init__(
        self, size: int, goals: tuple[tuple[int, int], ...], horizon: int, num_episodes: int
    ):
        self.horizon, self.num_episodes = horizon, num_episodes
        cells = [(x, y) for x in range(size) for y in range(size)]
        number = {cell: index for index, cell in enumerate(cells)}
        beside = [[(x, y + 1), (x + 1, y), (x, y - 1), (x - 1, y)] for x, y in cells]
        self.neighbours = [[number[to] for to in near if to in number] for near in beside]
        self.goal_at = {number[goal]: index for index, goal in enumerate(goals)}

        @cache
        def distance(cell: int) -> list[int]:
            x, y = cells[cell]
            return [abs(x - gx) + abs(y - gy) for gx, gy in goals]

        self.distance = distance

    def met_at(self, step: int) -> float:
        """Returns the return of an episode that meets the goal at this step, or never in its T steps."""
        if step > self.horizon:
            return -0.1 * self.horizon
        return (self.horizon - step + 1) - 0.1 * (step - 1)

    def worth(self, goal: int, episode: int, step: int) -> float:
        """Returns the sum of the returns of all episodes if the path meets this goal at this moment."""
        later = self.num_episodes - episode - 1
        known = self.met_at(self.distance(0)[goal])
        return episode * self.met_at(self.horizon + 1) + self.met_at(step) + later * known

    def followers(self, node: Node) -> Iterator[tuple[Node, int | None]]:
        """Yields the possible next nodes, each with the goal that is met."""
        for cell in self.neighbours[node.cell]:
            goal, left = self.goal_at.get(cell), node.left
            if goal is not None:
                goal, left = (goal, left & ~(1 << goal)) if left >> goal & 1 else (None, left)
            if node.step + 1 == self.horizon:
                yield Node(node.episode + 1, 0, 0, left), goal
            else:
                yield Node(node.episode, node.step + 1, cell, left), goal

    def bound(self, node: Node, value: float) -> float:
        """Returns an upper bound for paths with this prefix, where `value` is the sum over the goals already met."""
        goals = [goal for goal in range(len(self.goal_at)) if node.left >> goal & 1]
        if node.episode == self.num_episodes:
            return value + self.num_episodes * self.met_at(self.horizon + 1) * len(goals)
        step = node.step
        for goal in sorted(goals, key=self.distance(node.cell).__getitem__):
            step = max(step + 1, node.step + self.distance(node.cell)[goal])
            value += self.worth(goal, node.episode, step)
        return value

    def returns(self, met: Met) -> np.ndarray:
        """Returns the mean return of each episode."""
        totals = np.full((len(self.goal_at), self.num_episodes), self.met_at(self.horizon + 1))
        for goal, episode, step in met:
            totals[goal, episode] = self.met_at(step)
            totals[goal, episode + 1 :] = self.met_at(self.distance(0)[goal])
        return totals.mean(axis=0)
