"""Locks that keep two processes from training in one folder."""

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path

import filelock

from metarl_jax.core.errors import UserError
from metarl_jax.core.paths import unwritable
from metarl_jax.core.writing import sweep_around
from metarl_jax.runs.processes import first_does

LOCK = ".lock"
"""Name of the lock file in the folder."""
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)
"""Errors raised by file systems without locks."""


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keeps other processes from training in this folder of a run or a sweep. The lock ends with the process; of
    several that train together, the first one has it.

    A member of a sweep cannot be trained while the sweep is. Each of the two first takes its own lock, then checks the
    other's, so that at least one of them notices the other.

    Raises:
      UserError: if a process trains in it now, or if the folder cannot be written.
    """

    def lock(stack: contextlib.ExitStack) -> None:
        stack.enter_context(_lock(path))
        sweep = sweep_around(path)
        if sweep is not None:
            check_unlocked(sweep)

    with contextlib.ExitStack() as stack:
        first_does(lambda: lock(stack))
        yield


def check_unlocked(path: Path) -> None:
    """Raises `UserError` if a process trains in this folder now, or if it cannot be written."""
    with _lock(path):
        pass


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    lock = filelock.FileLock(path / LOCK, timeout=1.0)  # Others hold it for a moment to look.
    try:
        lock.acquire()
    except filelock.Timeout as error:
        raise UserError(
            f"run_dir={str(path)!r} is in use by a process that trains in it: wait for "
            "it, or stop it"
        ) from error
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise unwritable(path, error) from error
    try:
        yield
    finally:
        lock.release()
