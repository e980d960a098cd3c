"""The folder of compiled programs: commands keep what they compile, so that the next start of a preset loads it.

JAX keeps the programs, named by their code, the versions of jax and XLA, their flags and the kind of device. What
it lacks is done here: a default folder, one for each kind of processor (a home folder may be shared by different ones),
a bound on its size, and the removal of entries that a killed process left half written. JAX would compile such a
program anew at every start, because it never replaces an entry.
"""

import contextlib
import hashlib
import os
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path

import filelock
import jax

from metarl_jax.core.machine import processor_features

MAX_BYTES = 2 * 2**30
"""Size above which JAX removes the entries that were not used for longest."""
LEAST_SECONDS = 0.1
"""Programs that compile faster are not kept."""
LOCK, ENTRY, USED, CHECKED = ".lockfile", "-cache", "-atime", ".checked"
"""JAX's lock, the endings of its entries and of the times of their last use, and the file that is touched when all
entries have been checked."""


def tell(message: str) -> None:
    """Prints a warning."""
    print(f"warning: {message}", file=sys.stderr)


def keep_programs(enabled: bool, warn: Callable[[str], None] = tell) -> Path | None:
    """Lets JAX keep compiled programs in the user's cache folder, unless it has another folder or is told not to.

    Args:
      enabled: `runtime.compilation_cache`.
      warn: receives a message if the folder cannot be written; programs are then compiled at every start.

    Returns:
      The folder in use; None if programs are not kept.
    """
    if not enabled:
        jax.config.update("jax_enable_compilation_cache", False)
        return None
    if not jax.config.values["jax_enable_compilation_cache"]:
        return None
    if jax.config.values["jax_compilation_cache_dir"]:
        return Path(jax.config.values["jax_compilation_cache_dir"])
    folder = default_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        has_locks = remove_torn(folder)
    except OSError as error:
        warn(
            f"compiled programs cannot be kept in {folder} ({error.strerror or error}): name another folder by "
            "XDG_CACHE_HOME or JAX_COMPILATION_CACHE_DIR, or give --runtime.no-compilation-cache"
        )
        return None
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_compilation_cache_max_size", MAX_BYTES if has_locks else -1)
    if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
        jax.config.update("jax_persistent_cache_min_compile_time_secs", LEAST_SECONDS)
    return folder


def kept_programs() -> str | None:
    """Returns the folder that commands use; None if the environment turns it off."""
    if not jax.config.values["jax_enable_compilation_cache"]:
        return None
    return jax.config.values["jax_compilation_cache_dir"] or str(default_folder())


def default_folder() -> Path:
    """Returns the folder for this kind of processor, within XDG_CACHE_HOME or ~/.cache."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    kind = hashlib.sha256(processor_features().encode()).hexdigest()[:12]
    return cache / "metarl_jax" / "programs" / kind


def remove_torn(folder: Path) -> bool:
    """Removes the entries that are not whole, of those written since the last call.

    Returns:
      Whether the file system has locks, without which JAX cannot bound the size of the folder.
    """
    with _locked(folder) as has_locks:
        checked, started = folder / CHECKED, time.time_ns()
        last = checked.stat().st_mtime_ns if checked.exists() else 0
        for entry in folder.glob(f"*{ENTRY}"):
            used = entry.with_name(entry.name.removesuffix(ENTRY) + USED)
            is_new = entry.stat().st_mtime_ns >= last
            if (has_locks and not used.exists()) or (is_new and not is_whole(entry.read_bytes())):
                for path in (entry, used):
                    path.unlink(missing_ok=True)
        checked.touch()
        # Clocks of file systems are coarse: what was written within a second is looked at again.
        os.utime(checked, ns=(started - 10**9, started - 10**9))
    return has_locks


def is_whole(entry: bytes) -> bool:
    """Whether an entry can be unpacked."""
    try:
        unpacked = _decompress(entry)
    except Exception:  # Of any type: each library has its own.
        return False
    return len(unpacked) > 0


def _decompress(entry: bytes) -> bytes:
    if not entry.startswith(b"\x28\xb5\x2f\xfd"):
        return zlib.decompress(entry)
    try:
        return import_module("compression.zstd").decompress(entry)
    except ImportError:
        return import_module("zstandard").ZstdDecompressor().decompress(entry)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[bool]:
    """Holds JAX's lock on the folder, so that no process is in the middle of a write; yields whether it does. A process
    that holds it for long is not waited for."""
    lock = filelock.FileLock(folder / LOCK, timeout=5.0)
    try:
        lock.acquire()
    except (filelock.Timeout, OSError, NotImplementedError):
        yield False
        return
    try:
        yield True
    finally:
        lock.release()
