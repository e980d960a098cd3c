"""Task distributions, by name.

```python
from metarl_jax import envs
env = envs.make("half_cheetah_vel", variant="pearl19")
mine = envs.make("path/to/file.py:MyTasks")
```

To add one, subclass `metarl_jax.TaskDistribution`; `envs.register(MyTasks)` gives it a name in this process.
"""

from typing import TYPE_CHECKING

from metarl_jax.core.registry import Entry, Registry

if TYPE_CHECKING:
    from metarl_jax.envs.base import TaskDistribution

BANDITS, TABLES, GRIDS, SCHEDULES, POINTS, ROBOTS, LIBRARIES = (
    "bandits",
    "tables",
    "grid",
    "scheduling",
    "point robots",
    "simulated robots",
    "other libraries",
)

DISCRETE, CONTINUOUS = "discrete actions", "continuous actions"

registry: "Registry[type[TaskDistribution]]" = Registry(
    "environment",
    "metarl_jax.envs.base:TaskDistribution",
    {
        "bandit": Entry(
            "metarl_jax.envs.bandit:Bandit",
            "Bernoulli bandits: pull one of a few arms with hidden success probabilities",
            BANDITS,
            DISCRETE,
        ),
        "recurring_bandit": Entry(
            "metarl_jax.envs.recurring_bandit:RecurringBandit",
            "bandits that recur, each with a cue by which it can be recognised",
            BANDITS,
            DISCRETE,
        ),
        "softmax_bandit": Entry(
            "metarl_jax.envs.tabular.softmax_bandit:SoftmaxBandit",
            "a bandit whose exact meta-gradient is known",
            BANDITS,
            DISCRETE,
        ),
        "tabular_mdp": Entry(
            "metarl_jax.envs.tabular.random_mdps:TabularMDPs",
            "random MDPs of ten states and five actions, of Duan et al. (2016)",
            TABLES,
            DISCRETE,
        ),
        "random_mdp": Entry(
            "metarl_jax.envs.tabular.random_mdps:RandomMDPs",
            "random MDPs of a few states, with exact meta-gradients",
            TABLES,
            DISCRETE,
        ),
        "point_1d": Entry(
            "metarl_jax.envs.tabular.point_1d:Point1D",
            "a point on a line with a hidden goal, with exact meta-gradients",
            TABLES,
            DISCRETE,
        ),
        "grid_navi": Entry(
            "metarl_jax.envs.grid_navi:GridNavi",
            "find the hidden goal of a 5×5 grid, then return to it; the optimal search is known",
            GRIDS,
            DISCRETE,
        ),
        "dark_room": Entry(
            "metarl_jax.envs.dark_room:DarkRoom",
            "find the hidden goal of a 9×9 room, seeing only the current cell",
            GRIDS,
            DISCRETE,
        ),
        "dark_room_hard": Entry(
            "metarl_jax.envs.dark_room:DarkRoomHard",
            "`dark_room` with 17×17 cells and a goal that is rewarded once",
            GRIDS,
            DISCRETE,
        ),
        "dark_key_to_door": Entry(
            "metarl_jax.envs.dark_room:DarkKeyToDoor",
            "find a hidden key, and then a hidden door",
            GRIDS,
            DISCRETE,
        ),
        "job_scheduling": Entry(
            "metarl_jax.envs.job_scheduling:JobScheduling",
            "jobs on a cluster of two resources: a hidden load, or hidden durations",
            SCHEDULES,
            DISCRETE,
        ),
        "point_robot": Entry(
            "metarl_jax.envs.point_robot:PointRobot",
            "walk to a hidden goal in the plane: 2D navigation of Finn et al. (2017)",
            POINTS,
            CONTINUOUS,
        ),
        "point_robot_sparse": Entry(
            "metarl_jax.envs.point_robot_sparse:PointRobotSparse",
            "walk to a hidden goal on a half-circle, rewarded only near it",
            POINTS,
            CONTINUOUS,
        ),
        "rotated_point_robot": Entry(
            "metarl_jax.envs.rotated_point_robot:RotatedPointRobot",
            "walk to a visible goal with actions rotated by a hidden angle",
            POINTS,
            CONTINUOUS,
        ),
        "half_cheetah_dir": Entry(
            "metarl_jax.envs.brax.half_cheetah:HalfCheetahDir",
            "half-cheetah, forward or backward as the task says",
            ROBOTS,
            CONTINUOUS,
        ),
        "half_cheetah_vel": Entry(
            "metarl_jax.envs.brax.half_cheetah:HalfCheetahVel",
            "half-cheetah, at a hidden speed",
            ROBOTS,
            CONTINUOUS,
        ),
        "ant_dir": Entry(
            "metarl_jax.envs.brax.ant:AntDir", "ant, in a hidden direction", ROBOTS, CONTINUOUS
        ),
        "ant_goal": Entry(
            "metarl_jax.envs.brax.ant:AntGoal", "ant, to a hidden goal", ROBOTS, CONTINUOUS
        ),
        "ant_vel": Entry(
            "metarl_jax.envs.brax.ant:AntVel", "ant, at a hidden speed", ROBOTS, CONTINUOUS
        ),
        "humanoid_dir": Entry(
            "metarl_jax.envs.brax.humanoid:HumanoidDir",
            "humanoid, in a hidden direction",
            ROBOTS,
            CONTINUOUS,
        ),
        "walker2d_params": Entry(
            "metarl_jax.envs.brax.random_physics:Walker2dParams",
            "walkers of hidden masses, inertias, damping and friction",
            ROBOTS,
            CONTINUOUS,
        ),
        "hopper_params": Entry(
            "metarl_jax.envs.brax.random_physics:HopperParams",
            "hoppers of hidden masses, inertias, damping and friction",
            ROBOTS,
            CONTINUOUS,
        ),
        "hopper_ensemble": Entry(
            "metarl_jax.envs.brax.hopper:HopperEnsemble",
            "hoppers of hidden mass, friction, damping and armature (EPOpt)",
            ROBOTS,
            CONTINUOUS,
        ),
        "gymnax": Entry(
            "metarl_jax.envs.adapters.gymnax_tasks:GymnaxTasks",
            "any environment of gymnax with hidden parameters; CartPole-v1 by default",
            LIBRARIES,
            DISCRETE,
        ),
        "jumanji": Entry(
            "metarl_jax.envs.adapters.jumanji_tasks:JumanjiTasks",
            "any environment of jumanji with discrete actions; Knapsack-v1 by default",
            LIBRARIES,
            DISCRETE,
        ),
        "xland": Entry(
            "metarl_jax.envs.adapters.xland_tasks:XLand",
            "grids of XLand-MiniGrid with hidden goals and rules",
            LIBRARIES,
            DISCRETE,
        ),
        "craftax": Entry(
            "metarl_jax.envs.adapters.craftax_tasks:CraftaxTasks",
            "worlds of Craftax, the classic game by default, and its parameters",
            LIBRARIES,
            DISCRETE,
        ),
    },
)

names, get, make, register = registry.names, registry.get, registry.make, registry.register
