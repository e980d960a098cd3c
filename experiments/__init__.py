"""Presets: named configurations, each in a file with a source, a number to expect, and a `CONFIG`.

```python
from metarl_jax import presets
config = presets.get("maml-point-robot")
mine = presets.get("path/to/file.py:CONFIG")
```
"""

from typing import TYPE_CHECKING

from metarl_jax.core.registry import Entry, Registry

if TYPE_CHECKING:
    from metarl_jax.config import Config

PRESETS = {
    "point_robot": {
        "maml-point-robot": (
            "maml_point_robot:CONFIG",
            "MAML, trained for three gradient steps: −2.33 after them",
        ),
        "maml-point-robot-one-step": (
            "maml_point_robot:ONE_STEP",
            "MAML, trained for one gradient step: −11.2 after it",
        ),
        "maml-point-robot-finn17": (
            "maml_point_robot:FINN17",
            "MAML by the protocol of Finn et al. (2017): −11.0 after one step, −3.5 after three",
        ),
        "maml-policy-gradient-point-robot": (
            "point_robot_family:POLICY_GRADIENT",
            "MAML with one plain gradient step for every meta-batch",
        ),
        "maml-trpo-point-robot": (
            "point_robot_family:TRPO_CONFIG",
            "MAML with TRPO, the outer method of the paper",
        ),
        "fomaml-point-robot": ("point_robot_family:FOMAML", "first-order MAML"),
        "anil-point-robot": ("point_robot_family:ANIL_CONFIG", "ANIL: only the head adapts"),
        "cavia-point-robot": (
            "point_robot_family:CAVIA_CONFIG",
            "CAVIA: only a context vector of five numbers adapts",
        ),
        "meta-sgd-point-robot": (
            "point_robot_family:META_SGD",
            "Meta-SGD: a step size for every parameter",
        ),
        "reptile-point-robot": (
            "point_robot_family:REPTILE",
            "Reptile: steps towards the adapted parameters",
        ),
        "e-maml-point-robot": (
            "point_robot_family:E_MAML",
            "E-MAML: the data of the inner steps are credited with the return after them",
        ),
        "promp-point-robot": (
            "point_robot_family:PROMP",
            "ProMP: a penalty on the divergence of the policies before the last",
        ),
        "es-maml-point-robot": (
            "point_robot_family:ES_MAML",
            "evolution strategies around inner policy-gradient steps",
        ),
        "es-maml-zero-order-point-robot": (
            "point_robot_family:ES_ZERO_ORDER",
            "ES-MAML: evolution strategies around a zero-order inner step, without derivatives",
        ),
        "pretrained-point-robot": (
            "point_robot_family:PRETRAINED",
            "a control: one policy for all tasks, fine-tuned by the same inner steps",
        ),
        "multitask-point-robot": (
            "structure_family:MULTITASK_POINT_ROBOT",
            "a control: one plain policy as large as the hypernetwork, fine-tuned",
        ),
        "rl2-point-robot": (
            "structure_family:RL2_POINT_ROBOT",
            "RL² with a GRU: −3.68 and −1.00 in two episodes",
        ),
        "hypernetwork-point-robot": (
            "structure_family:HYPERNETWORK_POINT_ROBOT",
            "a recurrent hypernetwork",
        ),
        "modular-point-robot": (
            "structure_family:MODULAR_POINT_ROBOT",
            "a modular policy with inferred routing",
        ),
        "tuned-hypernetwork-point-robot": (
            "structure_family:TUNED_HYPERNETWORK_POINT_ROBOT",
            "a hypernetwork whose code is tuned by gradient",
        ),
        "tuned-modular-point-robot": (
            "structure_family:TUNED_MODULAR_POINT_ROBOT",
            "modules whose routing is tuned by gradient",
        ),
    },
    "rotated_point_robot": {
        "rl2-rotated-point-robot": ("structure_family:RL2_ROTATED", "RL² with a GRU"),
        "modular-rotated-point-robot": (
            "structure_family:MODULAR_ROTATED",
            "modules with inferred routing",
        ),
        "maml-rotated-point-robot": ("structure_family:MAML_ROTATED", "MAML"),
        "tuned-modular-rotated-point-robot": (
            "structure_family:TUNED_MODULAR_ROTATED",
            "modules whose routing is tuned by gradient",
        ),
    },
    "grid_navi": {
        "rl2-grid-navi": (
            "rl2_grid_navi:CONFIG",
            "RL² with a transformer: Bayes-optimal in every episode for four of six seeds",
        ),
        "rl2-gru-grid-navi": (
            "rl2_grid_navi:GRU",
            "RL² with a GRU: Bayes-optimal for six of twelve seeds, the others lose 0.1 to 0.5",
        ),
        "key-value-grid-navi": (
            "memory_family:KEY_VALUE_GRID_NAVI",
            "an external memory, written within the trial",
        ),
        "varibad-grid-navi": (
            "memory_family:VARIBAD_GRID_NAVI",
            "VariBAD: 11.03 of 11.07 in the last episode",
        ),
        "varibad-grid-navi-zintgraf20": (
            "memory_family:VARIBAD_ZINTGRAF20",
            "VariBAD with the networks and losses of its paper, untried",
        ),
        "hypernetwork-grid-navi": (
            "structure_family:HYPERNETWORK_GRID_NAVI",
            "a recurrent hypernetwork: Beck et al. (2023)",
        ),
        "modular-grid-navi": (
            "structure_family:MODULAR_GRID_NAVI",
            "a modular policy with inferred routing",
        ),
        "maml-grid-navi": ("structure_family:MAML_GRID_NAVI", "MAML, in rounds of 20 episodes"),
        "tuned-hypernetwork-grid-navi": (
            "structure_family:TUNED_HYPERNETWORK_GRID_NAVI",
            "a hypernetwork whose code is tuned by gradient",
        ),
        "tuned-modular-grid-navi": (
            "structure_family:TUNED_MODULAR_GRID_NAVI",
            "modules whose routing is tuned by gradient",
        ),
        "multitask-grid-navi": (
            "structure_family:MULTITASK_GRID_NAVI",
            "a control: one plain policy as large as the hypernetwork, fine-tuned",
        ),
    },
    "dark_room": {
        "rl2-dark-room": (
            "rl2_dark_room:CONFIG",
            "RL² with a transformer: 15.1 of 16.5 in the fifth episode",
        ),
    },
    "dark_key_to_door": {
        "rl2-dark-key-to-door": (
            "rl2_dark_room:KEY_TO_DOOR",
            "RL² with a transformer: 1.80 of 2 in the fifth episode",
        ),
    },
    "job_scheduling": {
        "rl2-job-scheduling-classes": (
            "rl2_job_scheduling:CLASSES",
            "RL², hidden durations of job classes: slowdown 3.95 at load 1.1, best blind heuristic 6.84",
        ),
        "rl2-job-scheduling-load": (
            "rl2_job_scheduling:LOAD",
            "RL², hidden load: slowdown 2.96, shortest job first 4.47",
        ),
    },
    "xland": {
        "rl2-xland": (
            "rl2_xland:CONFIG",
            "RL², trials of 1024 steps in segments of 32: 9.4 a trial (0.8 untrained)",
        ),
    },
    "bandit": {
        "rl2-bandit": (
            "rl2_bandit:CONFIG",
            "RL², 10 pulls of 5 arms: 6.65 in all, where 6.66 is optimal",
        ),
        "key-value-bandit": ("memory_family:KEY_VALUE_BANDIT", "an external memory"),
        "varibad-bandit": (
            "memory_family:VARIBAD_BANDIT",
            "VariBAD: the belief over the arms is trained to predict rewards",
        ),
        "symmetric-rl2-bandit": (
            "memory_family:SYMMETRIC_RL2_BANDIT",
            "RL² for exchangeable arms, 100 pulls of 10 arms: 83.86 (Gittins 83.73)",
        ),
    },
    "recurring_bandit": {
        "rl2-recurring-bandit": (
            "memory_family:RL2_RECURRING_BANDIT",
            "a control: RL² without a store",
        ),
        "episodic-recurring-bandit": (
            "memory_family:EPISODIC_RECURRING_BANDIT",
            "RL² with a store that persists across trials: 0.90 at the first pull of known tasks",
        ),
    },
    "tabular_mdp": {
        "rl2-tabular-mdp": (
            "memory_family:RL2_TABULAR_MDP",
            "RL² with a transformer: 156.9 in ten episodes (RL² in its paper 156.2)",
        ),
    },
    "half_cheetah_dir": {
        "maml-half-cheetah-dir": ("maml_half_cheetah_dir:CONFIG", "MAML, for an accelerator"),
        "maml-half-cheetah-dir-small": (
            "maml_half_cheetah_dir:SMALL",
            "MAML, at a size for a CPU: −19.8, 60.6, 67.1 after 0, 1, 2 steps",
        ),
    },
    "half_cheetah_vel": {
        "rl2-half-cheetah-vel": ("rl2_half_cheetah_vel:CONFIG", "RL², for an accelerator"),
        "rl2-half-cheetah-vel-small": (
            "rl2_half_cheetah_vel:SMALL",
            "RL², at a size for a CPU: −13.7 and −14.0 in two episodes",
        ),
        "maml-half-cheetah-vel-small": (
            "structure_family:MAML_HALF_CHEETAH_VEL",
            "MAML, at a size for a CPU",
        ),
        "hypernetwork-half-cheetah-vel-small": (
            "structure_family:HYPERNETWORK_HALF_CHEETAH_VEL",
            "a recurrent hypernetwork, at a size for a CPU",
        ),
        "hypernetwork-half-cheetah-vel-beck23": (
            "structure_family:HYPERNETWORK_BECK23",
            "a recurrent hypernetwork with the sizes of Beck et al. (2023), for an accelerator",
        ),
        "modular-half-cheetah-vel-small": (
            "structure_family:MODULAR_HALF_CHEETAH_VEL",
            "a modular policy with inferred routing, at a size for a CPU",
        ),
        "tuned-hypernetwork-half-cheetah-vel-small": (
            "structure_family:TUNED_HYPERNETWORK_HALF_CHEETAH_VEL",
            "a hypernetwork whose code is tuned by gradient, at a size for a CPU",
        ),
        "tuned-modular-half-cheetah-vel-small": (
            "structure_family:TUNED_MODULAR_HALF_CHEETAH_VEL",
            "modules whose routing is tuned by gradient, at a size for a CPU",
        ),
        "multitask-half-cheetah-vel-small": (
            "structure_family:MULTITASK_HALF_CHEETAH_VEL",
            "a control: one plain policy as large as the hypernetwork, fine-tuned",
        ),
    },
    "ant_goal": {
        "maml-ant-goal-small": (
            "maml_robots:ANT_GOAL",
            "MAML, on a CPU: 102 to 128 in two steps, 181 when told the goal",
        ),
    },
    "ant_vel": {
        "maml-ant-vel-small": (
            "maml_robots:ANT_VEL",
            "MAML, on a CPU: 8 to 17 in one step, 46 when told the speed",
        ),
    },
    "humanoid_dir": {
        "maml-humanoid-dir-small": (
            "maml_robots:HUMANOID",
            "MAML, a few meta-steps to measure: it wants an accelerator",
        ),
    },
    "walker2d_params": {
        "maml-walker2d-params-small": (
            "maml_robots:WALKER",
            "MAML, on a CPU: 154 to 169 in two steps",
        ),
    },
    "hopper_params": {
        "maml-hopper-params-small": (
            "maml_robots:HOPPER",
            "MAML, on a CPU: 223 to 231 in one step",
        ),
    },
    "gymnax": {
        "rl2-cart-pole": (
            "rl2_other_libraries:CART_POLE",
            "RL² by steps, CartPole-v1 of hidden gravity and direction: 75 to 108 steps",
        ),
    },
    "jumanji": {
        "rl2-graph-coloring": (
            "rl2_other_libraries:GRAPH_COLORING",
            "RL², graphs of 20 nodes, few colours: −16.9 (random) to −10.8 in half a minute",
        ),
    },
    "ant_dir": {
        "maml-ant-dir": ("maml_ant_dir:CONFIG", "MAML, for an accelerator"),
        "maml-ant-dir-small": (
            "maml_ant_dir:SMALL",
            "MAML, at a size for a CPU: 1.8, 22.8, 30.6 after 0, 1, 2 steps",
        ),
    },
    "hopper_ensemble": {
        "epopt-hopper-small": (
            "epopt_hopper:SMALL",
            "EPOpt: trained on the worst quarter of the hoppers",
        ),
        "epopt-hopper-small-mean": (
            "epopt_hopper:SMALL_MEAN",
            "the same hoppers, trained on the mean over all of them",
        ),
    },
}
"""The presets of each environment: `file:variable` of this folder, and what they are."""

registry: "Registry[Config]" = Registry(
    "preset",
    "metarl_jax.config:Config",
    {
        name: Entry(f"metarl_jax.experiments.{target}", summary, env)
        for env, presets in PRESETS.items()
        for name, (target, summary) in presets.items()
    },
)

names, get, register = registry.names, registry.get, registry.register
