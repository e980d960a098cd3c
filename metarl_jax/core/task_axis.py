"""The task axis `N`: sharded over devices, and processed in blocks on each of them.

Everything in the meta-step that has an axis `N` goes through `TaskAxis.map`, `mean` or `mean_gradient`. Neither the
number of devices nor the size of a block changes a result, but for the order in which floats are summed.

What all tasks share is an argument of these functions, not a value that the function of one task closes over: a
captured array belongs to the mesh outside, and an operation that copies its sharding fails on the devices inside.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from metarl_jax.core.trees import join_leading, largest_divisor, split_leading
from metarl_jax.core.types import Device, PyTree

TASKS = "tasks"
MEMBERS = "members"
"""Names of axes of devices: of the tasks of a meta-batch, and of the members of a sweep."""


class TaskAxis(NamedTuple):
    """Maps functions of one task over all `N` tasks. (The members of a sweep have such an axis too.)

    Attributes:
      mesh: the devices, in one axis; None for one device.
      name: the name of that axis.
    """

    mesh: Mesh | None = None
    name: str = TASKS

    @property
    def num_devices(self) -> int:
        return 1 if self.mesh is None else self.mesh.shape[self.name]

    def map(self, fn: Callable, shared: PyTree, *args: PyTree, block: int | None = None) -> PyTree:
        """Computes `fn(shared, task)` for every task: arguments `[N, ...]` to results `[N, ...]`.

        Args:
          fn: a function of the shared arguments and of one task.
          shared: arguments that are the same for all tasks, such as the meta-parameters.
          args: arrays `[N, ...]`.
          block: the number of tasks of a device that `vmap` runs side by side; blocks run one after another. None for
            all. Rounded down to a divisor of the tasks of a device.
        """

        def local(shared, *args):
            blocks = split_leading(args, _block_size(args, block))
            return join_leading(
                jax.lax.map(lambda xs: _over_block(partial(fn, shared), xs), blocks)
            )

        return self._sharded(local, P(self.name), shared, args)

    def mean(self, fn: Callable, shared: PyTree, *args: PyTree, block: int | None = None) -> PyTree:
        """Returns the mean of `fn(shared, task)` over all tasks, accumulated over blocks. Arguments as in `map`."""

        def block_sum(shared, xs):
            return jax.tree.map(lambda x: x.sum(0), _over_block(partial(fn, shared), xs))

        return self._mean(block_sum, shared, args, block)

    def mean_gradient(
        self,
        loss: Callable,
        params: PyTree,
        shared: PyTree,
        *args: PyTree,
        block: int | None = None,
    ) -> tuple[PyTree, PyTree]:
        """Returns the gradient in `params` of the mean loss over all tasks, and the means of its metrics.

        It is the gradient of the sum over a block, accumulated from block to block. A sum of the gradients of single
        tasks would be the same number, but weights that tasks share would then have a gradient `[N, ...]`.

        Args:
          loss: (params, shared, one task) to (scalar, pytree of metrics).
          params: what to differentiate in.
          shared, args, block: as in `map`.
        """

        def block_gradient(given, xs):
            params, shared = given

            def block_loss(params):
                losses, metrics = _over_block(partial(loss, params, shared), xs)
                return losses.sum(), jax.tree.map(lambda x: x.sum(0), metrics)

            return jax.grad(block_loss, has_aux=True)(params)

        return self._mean(block_gradient, (params, shared), args, block)

    def shard(self, tree: PyTree) -> PyTree:
        """Constrains arrays `[N, ...]` to lie on the devices of their tasks."""
        if self.mesh is None:
            return tree
        return jax.lax.with_sharding_constraint(tree, NamedSharding(self.mesh, P(self.name)))

    def _mean(self, block_sum: Callable, shared: PyTree, args: PyTree, block: int | None) -> PyTree:
        """Returns the sums of the blocks, (shared, tasks of a block) to a pytree, added up and divided by N."""
        num_tasks = jax.tree.leaves(args)[0].shape[0]

        def local(shared, *args):
            def accumulate(total, xs):
                return jax.tree.map(jnp.add, total, block_sum(shared, xs)), None

            blocks = split_leading(args, _block_size(args, block))
            shapes = jax.eval_shape(block_sum, shared, jax.tree.map(lambda x: x[0], blocks))
            zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
            total, _ = jax.lax.scan(accumulate, zeros, blocks)
            # As one vector, devices meet once instead of once for every array.
            vector, unravel = ravel_pytree(total)
            if self.mesh is not None:
                vector = jax.lax.psum(vector, self.name)
            return unravel(vector / num_tasks)

        return self._sharded(local, P(), shared, args)

    def _sharded(self, local: Callable, out_specs: P, shared: PyTree, args: PyTree) -> PyTree:
        """`local(shared, *args)` on every device, with its part of the tasks."""
        if self.mesh is not None:
            in_specs = (P(), *(P(self.name) for _ in args))
            local = jax.shard_map(
                local, mesh=self.mesh, in_specs=in_specs, out_specs=out_specs, check_vma=False
            )
        return local(shared, *args)


def make_task_axis(devices: list[Device], name: str = TASKS) -> TaskAxis:
    """Returns the task axis over these devices."""
    if len(devices) == 1:
        return TaskAxis(None, name)
    mesh = jax.make_mesh((len(devices),), (name,), devices=devices, axis_types=(AxisType.Auto,))
    return TaskAxis(mesh, name)


def _over_block(fn: Callable, xs: PyTree) -> PyTree:
    """Maps `fn` over the tasks of a block with `vmap`. A single task is computed without a batch axis, which slows down
    products."""
    if jax.tree.leaves(xs)[0].shape[0] > 1:
        return jax.vmap(fn)(*xs)
    return jax.tree.map(lambda y: y[None], fn(*jax.tree.map(lambda x: x[0], xs)))


def _block_size(args: PyTree, block: int | None) -> int:
    num_local = jax.tree.leaves(args)[0].shape[0]
    return num_local if block is None else largest_divisor(num_local, block)
