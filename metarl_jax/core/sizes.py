"""Sizes of memory as people write them: `12GiB`, `500 MB`."""

import re

from metarl_jax.core.errors import UserError

UNITS = {"B": 1} | {
    f"{prefix}{suffix}": base ** (power + 1)
    for suffix, base in (("iB", 2**10), ("B", 10**3))
    for power, prefix in enumerate(("K", "M", "G", "T"))
}
"""Bytes of each unit."""

SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?i?B)")


def parse_bytes(field: str, text: str) -> int:
    """Returns the bytes of a size such as `12GiB`, `0.5 GiB` or `500MB`.

    Args:
      field: that has this value, for the error.

    Raises:
      UserError: if the text is no size above 0.
    """
    found = SIZE.fullmatch(text.strip())
    size = 0
    if found is not None and found[2] in UNITS:
        size = int(float(found[1]) * UNITS[found[2]])
    if size < 1:
        raise UserError(
            f"{field}={text!r} must be a size above 0 with its unit, such as 12GiB or 500MB"
        )
    return size


def show_bytes(size: float) -> str:
    """Returns the text of a size in the greatest binary unit in which it is at least 1."""
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        if size >= UNITS[unit]:
            return f"{size / UNITS[unit]:.3g} {unit}"
    return f"{size:.0f} B"
