"""Draws of goals and headings in the plane, and of speeds."""

import jax
import jax.numpy as jnp


def sample_square(key: jax.Array, half_width: float, *, reach: float | None = None) -> jax.Array:
    """Draws a point `[2]` of [−w, w]², or of the frame between it and a larger square.

    Args:
      key: of the draw.
      half_width: w.
      reach: draw from the frame between [−w, w]² and [−rw, rw]², with r = `reach`: one coordinate, either of them with
        equal odds, is in ±[w, rw], and the other anywhere in [−rw, rw].
    """
    goal_key, side_key, sign_key = jax.random.split(key, 3)
    point = jax.random.uniform(goal_key, (2,), minval=-half_width, maxval=half_width)
    if reach is None:
        return point
    pushed = jax.random.bernoulli(side_key)
    sign = jnp.where(jax.random.bernoulli(sign_key), 1.0, -1.0)
    beyond = sign * 0.5 * ((reach + 1.0) * half_width + (reach - 1.0) * point)
    return jnp.where(jnp.arange(2) == pushed, beyond, reach * point)


def sample_heading(key: jax.Array) -> jax.Array:
    """Draws a unit vector `[2]` float32: (cos φ, sin φ) with φ ~ U[0, 2π) rad."""
    angle = jax.random.uniform(key, (), jnp.float32, minval=0.0, maxval=2.0 * jnp.pi)
    return jnp.stack([jnp.cos(angle), jnp.sin(angle)])


def sample_speed(key: jax.Array, top: float, *, outside: bool = False) -> jax.Array:
    """Draws a speed `[]` float32 of U[0, top], or of U[top, 1.5 top] outside of that range."""
    low, high = (top, 1.5 * top) if outside else (0.0, top)
    return jax.random.uniform(key, (), jnp.float32, minval=low, maxval=high)
