"""Which of the optional methods of a task distribution an environment defines."""

from metarl_jax.envs.base import TaskDistribution
from metarl_jax.envs.wrapper import Wrapper


def draws_itself(env: TaskDistribution) -> bool:
    """Whether the class defines `render` or `render_trial`."""
    return _defines(env, "render") or draws_trials(env)


def draws_trials(env: TaskDistribution) -> bool:
    """Whether the class defines `render_trial`, so that a picture is of a whole trial."""
    return _defines(env, "render_trial")


def knows_regret(env: TaskDistribution) -> bool:
    """Whether the class defines `regret`, so that `advantage.training_reward` may be `regret`."""
    return _defines(env, "regret")


def has_oracle(env: TaskDistribution) -> bool:
    """Whether the class defines `oracle_action`, a good policy that is given the task."""
    return _defines(env, "oracle_action")


def has_action_mask(env: TaskDistribution) -> bool:
    """Whether the class defines `action_mask`."""
    return _defines(env, "action_mask")


def has_action_features(env: TaskDistribution) -> bool:
    """Whether observations say something of each action."""
    return _defines(env, "action_features")


def _defines(env: TaskDistribution, method: str) -> bool:
    """Whether the class of an environment, or of one that it wraps, defines an optional method."""
    bases = getattr(TaskDistribution, method), getattr(Wrapper, method)
    is_own = getattr(type(env), method) not in bases
    if isinstance(env, Wrapper) and (not is_own or method in env.forwarded):
        return _defines(env.env, method)
    return is_own
