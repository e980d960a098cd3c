"""MAML on ant direction: forward or backward, as the task says (Finn et al. 2017).

The paper has 8.7, 499.2, 500.7, 499.1 after 0, 1, 2, 3 gradient steps (MuJoCo). Brax's physics is another, so returns
do not compare. There are two tasks in all, hence no held-out set. But for the tasks it is `maml-half-cheetah-dir`.
Neither size of this preset has been trained to its end yet.
"""

import dataclasses

from metarl_jax.envs.ant import AntDir
from metarl_jax.experiments import maml_half_cheetah_dir

CONFIG = dataclasses.replace(
    maml_half_cheetah_dir.CONFIG, name="maml-ant-dir", env=AntDir(variant="finn17")
)

SMALL = dataclasses.replace(
    maml_half_cheetah_dir.SMALL,
    name="maml-ant-dir-small",
    env=AntDir(variant="finn17", horizon=100),
    num_meta_steps=100,
)
"""MAML on ant direction, at a size for a CPU."""

if __name__ == "__main__":
    from metarl_jax.cli import run_preset

    run_preset("maml-ant-dir")
