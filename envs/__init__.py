"""Task distributions, by name.

```python
from metarl_jax import envs
env = envs.make("half_cheetah_vel", variant="pearl19")
```

To add one, subclass `metarl_jax.envs.base.TaskDistribution` and call `envs.register(MyTasks)`.
"""

from metarl_jax.core.registry import Registry
from metarl_jax.envs.base import TaskDistribution

registry: Registry[type[TaskDistribution]] = Registry(
    "environment",
    {
        "bandit": "metarl_jax.envs.bandit:Bandit",
        "recurring_bandit": "metarl_jax.envs.recurring_bandit:RecurringBandit",
        "softmax_bandit": "metarl_jax.envs.tabular.softmax_bandit:SoftmaxBandit",
        "tabular_mdp": "metarl_jax.envs.tabular.random_mdps:TabularMDPs",
        "random_mdp": "metarl_jax.envs.tabular.random_mdps:RandomMDPs",
        "grid_navi": "metarl_jax.envs.grid_navi:GridNavi",
        "point_1d": "metarl_jax.envs.tabular.point_1d:Point1D",
        "point_robot": "metarl_jax.envs.point_robot:PointRobot",
        "point_robot_sparse": "metarl_jax.envs.point_robot_sparse:PointRobotSparse",
        "rotated_point_robot": "metarl_jax.envs.rotated_point_robot:RotatedPointRobot",
        "half_cheetah_dir": "metarl_jax.envs.brax.half_cheetah:HalfCheetahDir",
        "half_cheetah_vel": "metarl_jax.envs.brax.half_cheetah:HalfCheetahVel",
        "ant_dir": "metarl_jax.envs.brax.ant:AntDir",
        "hopper_ensemble": "metarl_jax.envs.brax.hopper:HopperEnsemble",
    },
)


def names() -> list[str]:
    """The names of all registered task distributions."""
    return registry.names()


def get(name: str) -> type[TaskDistribution]:
    """The class of this name; raises `UserError` that suggests the nearest name."""
    return registry.get(name)


def make(name: str, **options) -> TaskDistribution:
    """An instance of the class of this name, with its fields set by keyword."""
    return get(name)(**options)


def register(cls: type[TaskDistribution]) -> type[TaskDistribution]:
    """Adds a class under its `name`; usable as a decorator."""
    registry.register(cls.name, cls)
    return cls
