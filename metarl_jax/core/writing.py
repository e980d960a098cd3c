"""Writes to disk that report every failure and never leave a partial file under the final name."""

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

SWEEP, MEMBERS = "sweep.json", "members"
"""The file that marks the folder of a sweep, and the folder of its runs."""


class WriteError(OSError):
    """A file of a run could not be written. The message says how to continue the run."""

    def __init__(self, path: Path, error: BaseException | str):
        run = _run_around(path)
        advice = (
            "remove the cause"
            if run is None
            else f"remove the cause, then go on with `metarl resume {run}`"
        )
        super().__init__(f"{path} cannot be written ({_reason(error)}): {advice}")


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns an `OSError` of its block, which writes `path`, into a `WriteError`."""
    try:
        yield
    except WriteError:
        raise
    except OSError as error:
        raise WriteError(path, error) from error


def write_text(path: Path, text: str) -> None:
    """Writes a file so that `path` holds either what it held before or all of `text`.

    Raises:
      WriteError: if it cannot be written.
    """
    with replacing(path) as partial, open(partial, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields the path of a temporary file, which replaces `path` if the block succeeds.

    Raises:
      WriteError: if it cannot be written; `path` holds what it held before.
    """
    partial = path.with_name(path.name + ".partial")
    with writing(path):
        try:
            yield partial
            os.replace(partial, path)
        except BaseException:
            with contextlib.suppress(OSError):
                partial.unlink()
            raise


def append(path: Path, content: str | bytes) -> None:
    """Appends to a file, and closes it again.

    Raises:
      WriteError: if it cannot be written.
    """
    data = content.encode() if isinstance(content, str) else content
    with writing(path), open(path, "ab") as file:
        file.write(data)


def sweep_around(path: Path) -> Path | None:
    """Returns the folder of the sweep that the run in this folder is a member of, if it is one."""
    members = path.parent if path.parent.name else path.absolute().parent
    is_member = members.name == MEMBERS and (members.parent / SWEEP).is_file()
    return members.parent if is_member else None


def to_resume(path: Path) -> Path:
    """Returns the folder to give to `metarl resume`: that of the sweep, for a member of one."""
    return sweep_around(path) or path


def _run_around(path: Path) -> Path | None:
    """Returns the folder to resume after a write to this path failed, if it is of a run or a sweep."""
    for folder in path.parents:
        if any((folder / name).is_file() for name in (SWEEP, "config.json")):
            return to_resume(folder)
    return None


def _reason(error: BaseException | str) -> str:
    """Returns the message of the operating system, or else the first line of the error."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    message = str(error) or type(error).__name__
    code = re.search(r"os_error_code='(\d+)'", message)  # TensorStore's, within pages of text
    return os.strerror(int(code.group(1))) if code else message.splitlines()[0][:200]
