"""Named experiments: each file has a source, a number to expect, and a `CONFIG`."""

from metarl_jax.config import Config
from metarl_jax.core.registry import Registry

STRUCTURE = "metarl_jax.experiments.structure_family"

registry: Registry[Config] = Registry(
    "preset",
    {
        "maml-point-robot": "metarl_jax.experiments.maml_point_robot:CONFIG",
        "maml-point-robot-one-step": "metarl_jax.experiments.maml_point_robot:ONE_STEP",
        "maml-policy-gradient-point-robot": "metarl_jax.experiments.point_robot_family:POLICY_GRADIENT",
        "maml-trpo-point-robot": "metarl_jax.experiments.point_robot_family:TRPO_CONFIG",
        "fomaml-point-robot": "metarl_jax.experiments.point_robot_family:FOMAML",
        "anil-point-robot": "metarl_jax.experiments.point_robot_family:ANIL_CONFIG",
        "cavia-point-robot": "metarl_jax.experiments.point_robot_family:CAVIA_CONFIG",
        "meta-sgd-point-robot": "metarl_jax.experiments.point_robot_family:META_SGD",
        "pretrained-point-robot": "metarl_jax.experiments.point_robot_family:PRETRAINED",
        "reptile-point-robot": "metarl_jax.experiments.point_robot_family:REPTILE",
        "e-maml-point-robot": "metarl_jax.experiments.point_robot_family:E_MAML",
        "promp-point-robot": "metarl_jax.experiments.point_robot_family:PROMP",
        "es-maml-point-robot": "metarl_jax.experiments.point_robot_family:ES_MAML",
        "maml-half-cheetah-dir": "metarl_jax.experiments.maml_half_cheetah_dir:CONFIG",
        "maml-half-cheetah-dir-small": "metarl_jax.experiments.maml_half_cheetah_dir:SMALL",
        "maml-ant-dir": "metarl_jax.experiments.maml_ant_dir:CONFIG",
        "maml-ant-dir-small": "metarl_jax.experiments.maml_ant_dir:SMALL",
        "rl2-half-cheetah-vel": "metarl_jax.experiments.rl2_half_cheetah_vel:CONFIG",
        "rl2-half-cheetah-vel-small": "metarl_jax.experiments.rl2_half_cheetah_vel:SMALL",
        "epopt-hopper-small": "metarl_jax.experiments.epopt_hopper:SMALL",
        "epopt-hopper-small-mean": "metarl_jax.experiments.epopt_hopper:SMALL_MEAN",
        "rl2-bandit": "metarl_jax.experiments.rl2_bandit:CONFIG",
        "rl2-grid-navi": "metarl_jax.experiments.rl2_grid_navi:CONFIG",
        "rl2-gru-grid-navi": "metarl_jax.experiments.rl2_grid_navi:GRU",
        "rl2-tabular-mdp": "metarl_jax.experiments.memory_family:RL2_TABULAR_MDP",
        "rl2-recurring-bandit": "metarl_jax.experiments.memory_family:RL2_RECURRING_BANDIT",
        "symmetric-rl2-bandit": "metarl_jax.experiments.memory_family:SYMMETRIC_RL2_BANDIT",
        "key-value-bandit": "metarl_jax.experiments.memory_family:KEY_VALUE_BANDIT",
        "key-value-grid-navi": "metarl_jax.experiments.memory_family:KEY_VALUE_GRID_NAVI",
        "varibad-bandit": "metarl_jax.experiments.memory_family:VARIBAD_BANDIT",
        "varibad-grid-navi": "metarl_jax.experiments.memory_family:VARIBAD_GRID_NAVI",
        "episodic-recurring-bandit": "metarl_jax.experiments.memory_family:EPISODIC_RECURRING_BANDIT",
        "hypernetwork-grid-navi": f"{STRUCTURE}:HYPERNETWORK_GRID_NAVI",
        "hypernetwork-half-cheetah-vel-small": f"{STRUCTURE}:HYPERNETWORK_HALF_CHEETAH_VEL",
        "modular-grid-navi": f"{STRUCTURE}:MODULAR_GRID_NAVI",
        "modular-half-cheetah-vel-small": f"{STRUCTURE}:MODULAR_HALF_CHEETAH_VEL",
        "tuned-hypernetwork-point-robot": f"{STRUCTURE}:TUNED_HYPERNETWORK_POINT_ROBOT",
        "tuned-modular-point-robot": f"{STRUCTURE}:TUNED_MODULAR_POINT_ROBOT",
        "rl2-point-robot": f"{STRUCTURE}:RL2_POINT_ROBOT",
        "hypernetwork-point-robot": f"{STRUCTURE}:HYPERNETWORK_POINT_ROBOT",
        "modular-point-robot": f"{STRUCTURE}:MODULAR_POINT_ROBOT",
        "maml-grid-navi": f"{STRUCTURE}:MAML_GRID_NAVI",
        "tuned-hypernetwork-grid-navi": f"{STRUCTURE}:TUNED_HYPERNETWORK_GRID_NAVI",
        "tuned-modular-grid-navi": f"{STRUCTURE}:TUNED_MODULAR_GRID_NAVI",
        "maml-half-cheetah-vel-small": f"{STRUCTURE}:MAML_HALF_CHEETAH_VEL",
        "tuned-hypernetwork-half-cheetah-vel-small": f"{STRUCTURE}:TUNED_HYPERNETWORK_HALF_CHEETAH_VEL",
        "tuned-modular-half-cheetah-vel-small": f"{STRUCTURE}:TUNED_MODULAR_HALF_CHEETAH_VEL",
        "multitask-point-robot": f"{STRUCTURE}:MULTITASK_POINT_ROBOT",
        "multitask-grid-navi": f"{STRUCTURE}:MULTITASK_GRID_NAVI",
        "multitask-half-cheetah-vel-small": f"{STRUCTURE}:MULTITASK_HALF_CHEETAH_VEL",
        "rl2-rotated-point-robot": f"{STRUCTURE}:RL2_ROTATED",
        "modular-rotated-point-robot": f"{STRUCTURE}:MODULAR_ROTATED",
        "maml-rotated-point-robot": f"{STRUCTURE}:MAML_ROTATED",
        "tuned-modular-rotated-point-robot": f"{STRUCTURE}:TUNED_MODULAR_ROTATED",
    },
)


def names() -> list[str]:
    """The names of all presets."""
    return registry.names()


def get(name: str) -> Config:
    """The configuration of this name; raises `UserError` that suggests the nearest name."""
    return registry.get(name)
