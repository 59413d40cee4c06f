"""What the errors of databases mean, and what to do about each."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from sqlalchemy import Dialect
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from crynux_validate.errors import StorageBusyError, StorageError

_SQLITE: Final = {
    sqlite3.SQLITE_READONLY: "it can only be read",
    sqlite3.SQLITE_FULL: "the disk is full",
    sqlite3.SQLITE_CORRUPT: "the file is damaged, or was cut off; go back to a copy of it",
    sqlite3.SQLITE_NOTADB: "the file is no SQLite database",
    sqlite3.SQLITE_CANTOPEN: "the file cannot be opened; does it exist, and may this user write in its folder? To look "
    "into one that can only be read, end the URL with ?mode=ro&uri=true",
    sqlite3.SQLITE_IOERR: "reading or writing the disk failed",
}
SQLITE_BUSY: Final = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_POSTGRESQL_BUSY: Final = ("55P03",)  # lock_not_available: lock_timeout has passed


@contextmanager
def storage_errors(where: str) -> Iterator[None]:
    """Turn what a database raises into `StorageError`, saying which database it was and what to do."""
    try:
        yield
    except Exception as error:
        named = as_storage_error(error, where)
        if named is None:
            raise
        raise named from error


def as_storage_error(error: BaseException, where: str) -> StorageError | None:
    """Return what an error of a database means; None for any other error."""
    if isinstance(error, PoolTimeoutError):
        return StorageBusyError(f"{where}: too many threads use this ledger at once; try again")
    if isinstance(error, sqlite3.Error):
        return _meaning(error, where)
    if isinstance(error, DBAPIError):
        return _meaning(error.orig, where, lost=error.connection_invalidated)
    if isinstance(error, UnicodeDecodeError):  # sqlite3 also decodes what SQLite says of a damaged schema
        return StorageError(f"{where}: {_SQLITE[sqlite3.SQLITE_CORRUPT]} (it holds text that is none)")
    return StorageError(f"{where}: {error}") if isinstance(error, SQLAlchemyError) else None


def _meaning(cause: BaseException | None, where: str, *, lost: bool = False) -> StorageError:
    if isinstance(cause, sqlite3.Error):
        code = sqlite_code(cause)
        if code in SQLITE_BUSY:
            return StorageBusyError(f"{where}: another process holds it ({cause}); nothing has changed, try again")
        return StorageError(f"{where}: {_SQLITE.get(code, 'the database refused')} ({cause})")
    state = getattr(cause, "sqlstate", None)
    if state in _POSTGRESQL_BUSY:
        return StorageBusyError(f"{where}: another process holds it ({cause}); nothing has changed, try again")
    if "statement pooling" in str(cause):
        return StorageError(
            f"{where}: a pooler in statement mode stands before the database, and an action is a transaction; set "
            f"pool_mode = transaction, or session ({cause})"
        )
    if lost or state is None:
        return StorageError(
            f"{where}: the connection failed ({cause}); if that was while an action ended, whether it happened is not "
            "known: ask the ledger before you repeat it"
        )
    return StorageError(f"{where}: the database refused ({cause})")


def sqlite_code(error: sqlite3.Error) -> int:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF  # the rest says which kind of this error


def dbapi_error(dialect: Dialect, text: str, error: Exception, lost: bool) -> DBAPIError:
    """Return what a driver raised as if SQLAlchemy had sent the statement."""
    named = DBAPIError.instance(
        text, None, error, dialect.loaded_dbapi.Error, connection_invalidated=lost, dialect=dialect
    )
    return named if isinstance(named, DBAPIError) else DBAPIError(text, None, error)
