"""Where the trials of a search are: a journal in its folder, or a database."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from metarl_jax.core.errors import UserError
from metarl_jax.searches.folder import SearchFolder

if TYPE_CHECKING:
    import optuna

FOLDER = "folder"
"""Attribute of a study in a database: the folder of its batches."""


def require_optuna() -> None:
    """Raises `UserError` with the command that installs Optuna, if it cannot be imported."""
    try:
        import optuna
    except ImportError as error:
        raise UserError(
            f"a search needs the library optuna, which cannot be imported ({error}): install it with "
            "pip install 'metarl_jax[search]'"
        ) from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)


def find_folder(storage: str) -> Path:
    """Returns the folder of the only study in a database; raises `UserError` if there are none, or several."""
    require_optuna()
    from sqlalchemy.engine import make_url

    with readable_errors(storage):
        url = make_url(storage)
        if url.drivername.startswith("sqlite") and not Path(url.database or "").is_file():
            raise UserError(f"study={storage!r} does not exist: name the folder of a search")
        summaries = _database(storage).get_all_studies()
    folders = [s.user_attrs[FOLDER] for s in summaries if FOLDER in s.user_attrs]
    if len(folders) != 1:
        found = ", ".join(folders) or "none"
        raise UserError(
            f"study={storage!r} must hold one search, and holds {found}: name the folder of a search"
        )
    return Path(folders[0])


def check_storage(storage: str) -> str:
    """Connects to a database; returns its URL as it is kept, with an absolute path of a file.

    Raises:
      UserError: if it cannot be opened, is in memory, or has a password in its URL.
    """
    require_optuna()
    from sqlalchemy import create_engine
    from sqlalchemy.engine import make_url

    with readable_errors(storage):
        url = make_url(storage)
    if url.password is not None:
        raise UserError(
            f"storage={url.render_as_string()!r} has a password, which would be written to search.json: leave it out, "
            "and let the database take it from the environment or a file (PGPASSWORD, ~/.pgpass)"
        )
    if url.drivername.startswith("sqlite"):
        if not url.database or url.database == ":memory:":
            raise UserError(f"storage={storage!r} is in memory, and cannot be shared: name a file")
        url = url.set(database=str(Path(url.database).absolute()))
    with readable_errors(storage), create_engine(url).connect():
        return url.render_as_string()


def open_storage(folder: SearchFolder, url: str) -> "optuna.storages.BaseStorage":
    if url:
        return _database(url)
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    return JournalStorage(JournalFileBackend(str(folder.journal)))


def _database(url: str) -> "optuna.storages.BaseStorage":
    from optuna.storages import RDBStorage

    return RDBStorage(url)


@contextlib.contextmanager
def readable_errors(storage: str) -> Iterator[None]:
    """Turns errors about a database into one line."""
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (SQLAlchemyError, StorageInternalError, ImportError) as error:
        cause = error.__cause__ or error
        line = (str(cause).strip() or type(cause).__name__).splitlines()[0]
        raise UserError(
            f"storage={storage!r} cannot be opened ({line}): give a URL such as sqlite:///search.db or "
            "postgresql+psycopg://HOST/NAME, or leave it out for a journal in the folder"
        ) from error
