"""MAML on ant direction: forward or backward, as the task says (Finn et al. 2017).

The paper has 8.7, 499.2, 500.7, 499.1 after 0, 1, 2, 3 gradient steps (MuJoCo). Brax's physics is another, so returns
do not compare. There are two tasks in all, hence no held-out set. But for the tasks it is `maml-half-cheetah-dir`.

The small preset on one core of a 2-core AMD EPYC beside other work, three seeds in 14 minutes (4.8M env-steps each):

  JAX_NUM_CPU_DEVICES=1 metarl train maml-ant-dir-small --seeds 3

Return after 0, 1, 2 gradient steps 1.8, 22.8, 30.6 (95% t intervals over seeds -2.0 to 5.6, 16.0 to 29.5, 23.8 to
37.5), 100 steps an episode; random policy 4.4. After 100 meta-steps it was 2.8, 12.2, 15.2: it is still improving at
its end. The full-size preset is untried: it wants an accelerator.
"""

import dataclasses

from metarl_jax.envs.brax.ant import AntDir
from metarl_jax.experiments import maml_half_cheetah_dir

CONFIG = dataclasses.replace(
    maml_half_cheetah_dir.CONFIG, name="maml-ant-dir", env=AntDir(variant="finn17")
)

SMALL = dataclasses.replace(
    maml_half_cheetah_dir.SMALL,
    name="maml-ant-dir-small",
    env=AntDir(variant="finn17", horizon=100),
    num_meta_steps=250,
)
"""MAML on ant direction, at a size for a CPU."""

if __name__ == "__main__":
    from metarl_jax.cli.main import run_preset

    run_preset("maml-ant-dir")
