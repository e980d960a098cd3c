"""Ranges of numbers in words: `5..15`, `0.1..10:log`, or `1,2,5`."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from metarl_jax.core.errors import UserError


class Range(NamedTuple):
    """A distribution over numbers.

    Attributes:
      choices: one of these, with equal odds; empty for an interval.
      low, high: ends of the interval.
      is_log: uniform in the logarithm.
    """

    choices: tuple[float, ...]
    low: float = 0.0
    high: float = 0.0
    is_log: bool = False

    def sample(self, key: jax.Array, *, outside: bool = False) -> jax.Array:
        """Draws a number, `[]` float32; `outside` from the upper half as wide as the range, beyond its end."""
        if self.choices:
            return jax.random.choice(key, jnp.asarray(self.choices, jnp.float32))
        low, high = self.low, self.high
        if self.is_log:
            low, high = math.log(low), math.log(high)
        if outside:
            low, high = high, high + 0.5 * (high - low)
        value = jax.random.uniform(key, (), jnp.float32, low, high)
        return jnp.exp(value) if self.is_log else value


def parse_range(text: str, field: str) -> Range:
    """Reads a range.

    Args:
      text: such as `5..15`.
      field: named in messages.

    Raises:
      UserError: where it cannot be read so, or its low end is above its high end.
    """
    interval, colon, scale = text.partition(":")
    try:
        if ".." not in interval:
            if colon:
                raise ValueError
            choices = tuple(float(x) for x in text.split(","))
            if not all(map(math.isfinite, choices)):
                raise ValueError
            return Range(choices)
        low, high = (float(x) for x in interval.split(".."))
        if colon and scale != "log":
            raise ValueError
    except ValueError as error:
        raise UserError(
            f"{field}={text!r} is no range: write LOW..HIGH, LOW..HIGH:log, or numbers with commas"
        ) from error
    if not (math.isfinite(low) and math.isfinite(high)):
        raise UserError(f"{field}={text!r} must have finite ends")
    if low > high:
        raise UserError(
            f"{field}={text!r} has its low end above its high end: write {high:g}..{low:g}"
        )
    if colon and low <= 0:
        raise UserError(f"{field}={text!r}: a logarithmic range must begin above 0")
    return Range((), low, high, bool(colon))
