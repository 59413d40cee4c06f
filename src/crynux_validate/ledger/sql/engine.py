"""Databases: which are taken, how their connections are set, and what their errors mean."""

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, DisconnectionError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from crynux_validate.encoding import shorten
from crynux_validate.errors import InvalidInputError, MissingExtraError, StorageBusyError, StorageError

_EXPECTED: Final = "sqlite:///ledger.db, or postgresql+psycopg://user@host/database"
_WRITES: Final = "crynux_writes"
"""The execution option that says that a transaction writes."""

_RESTED_SECONDS: Final = 1.0
"""After how long a connection that rested is asked whether it still stands. To ask each time would be a
fourth round trip beside the three of an action."""

_SQLITE: Final = {
    sqlite3.SQLITE_READONLY: "it can only be read",
    sqlite3.SQLITE_FULL: "the disk is full",
    sqlite3.SQLITE_CORRUPT: "the file is damaged, or was cut off; go back to a copy of it",
    sqlite3.SQLITE_NOTADB: "the file is no SQLite database",
    sqlite3.SQLITE_CANTOPEN: "the file cannot be opened; does its folder exist, and may this user write in it?",
    sqlite3.SQLITE_IOERR: "reading or writing the disk failed",
}
_SQLITE_BUSY: Final = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_POSTGRESQL_BUSY: Final = ("55P03",)  # lock_not_available: lock_timeout has passed


def read_url(text: object) -> URL:
    """Check that a URL names a database that a ledger can be in.

    Raises
    ------
    InvalidInputError
        Says what was expected.
    """
    if not isinstance(text, str):
        raise InvalidInputError(f"the database is {shorten(text)}; expected a URL: {_EXPECTED}")
    try:
        url = make_url(text)
    except ArgumentError:
        raise InvalidInputError(f"the database is {shorten(text)}; expected a URL: {_EXPECTED}") from None
    backend, _, driver = url.drivername.partition("+")
    if backend == "postgresql" and driver == "psycopg":
        return url
    if backend != "sqlite" or driver not in ("", "pysqlite"):
        raise InvalidInputError(f"{shown(url)} is not a database that a ledger can be in; expected {_EXPECTED}")
    if url.database in (None, "", ":memory:") or "mode=memory" in str(url):
        raise InvalidInputError(f"{shown(url)} stores nothing; name a file, or take a MemoryLedger")
    return url


def shown(url: URL) -> str:
    """Return a URL as errors show it: without its password, and a SQLite file by its path."""
    if url.get_backend_name() == "sqlite" and url.database:
        return f"sqlite:///{url.database.removeprefix('file://')}"
    return url.render_as_string(hide_password=True)


def open_engine(url: URL, timeout: float) -> Engine:
    """Return an engine whose transactions are whole, seen by nobody before, and on the disk when they have ended.

    Parameters
    ----------
    url
        Of `read_url`.
    timeout
        How many seconds to wait for others.
    """
    try:
        if url.get_backend_name() == "sqlite":
            engine = create_engine(url, connect_args={"timeout": timeout}, pool_timeout=timeout)
            event.listen(engine, "connect", _set_up_sqlite)
            event.listen(engine, "begin", _begin_sqlite)
            return engine
        # Who writes waits for the ledger's row and then sees what the last one wrote; who reads sees one moment.
        engine = create_engine(url, isolation_level="READ COMMITTED", pool_timeout=timeout)
    except ModuleNotFoundError as error:
        raise MissingExtraError("a ledger on PostgreSQL", "postgresql", error.name or "psycopg") from error

    def set_up(connection: Any, _record: object) -> None:
        _set_up_postgresql(connection, timeout)

    event.listen(engine, "connect", set_up)
    _ask_after_a_rest(engine)
    return engine


def for_writing(engine: Engine) -> Engine:
    """Return the engine for transactions that write."""
    return engine.execution_options(**{_WRITES: True})


def for_reading(engine: Engine) -> Engine:
    """Return the engine for transactions that only read, each as of one moment."""
    if engine.dialect.name == "sqlite":
        return engine
    return engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)


def claim_file(url: URL, timeout: float) -> None:
    """Make the file of a new SQLite ledger, and refuse one that is empty.

    SQLite takes an empty file for a new database. One that was there before, and stays empty, may be a ledger that was
    cut off: to begin a new one in its place would lose it in silence.
    """
    if url.get_backend_name() != "sqlite" or str(url.database).startswith("file:"):
        return
    path = Path(str(url.database))
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o644))
    except FileExistsError:
        waits_until = time.monotonic() + min(timeout, 5)
        with suppress(OSError):
            while not path.stat().st_size:  # somebody else may be making it just now
                if time.monotonic() > waits_until:
                    raise StorageError(
                        f"{path} is an empty file: a ledger that was cut off? Delete it if a new ledger is meant"
                    ) from None
                time.sleep(0.01)
    except OSError as error:
        raise StorageError(f"{path} cannot be made: {error.strerror or error}") from error


def keep_a_write_ahead_log(engine: Engine, timeout: float) -> None:
    """Set a SQLite file to write ahead: one flush to the disk for each action, and who reads waits for nobody.

    The setting stays with the file. It cannot be changed while others use the file, so this tries until it can.
    """
    waits_until = time.monotonic() + timeout
    while True:
        connection = engine.raw_connection()
        try:
            connection.cursor().execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            code = _sqlite_code(error)
            if code == sqlite3.SQLITE_READONLY:
                return
            if code not in _SQLITE_BUSY or time.monotonic() > waits_until:
                raise DBAPIError("PRAGMA journal_mode=WAL", None, error) from error
        finally:
            connection.close()
        time.sleep(0.01)


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
        code = _sqlite_code(cause)
        if code in _SQLITE_BUSY:
            return StorageBusyError(f"{where}: another process holds it ({cause}); nothing has changed, try again")
        return StorageError(f"{where}: {_SQLITE.get(code, 'the database refused')} ({cause})")
    state = getattr(cause, "sqlstate", None)
    if state in _POSTGRESQL_BUSY:
        return StorageBusyError(f"{where}: another process holds it ({cause}); nothing has changed, try again")
    if lost or state is None:
        return StorageError(
            f"{where}: the connection failed ({cause}); if that was while an action ended, whether it happened is not "
            "known: ask the ledger before you repeat it"
        )
    return StorageError(f"{where}: the database refused ({cause})")


def _sqlite_code(error: sqlite3.Error) -> int:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF  # the rest says which kind of this error


def _set_up_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None  # transactions begin where `_begin_sqlite` says, not where the driver guesses
    for pragma in ("synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    """Who writes waits for the others at the start: nobody reads what somebody else is about to change."""
    writes = connection.get_execution_options().get(_WRITES, False)
    driver: Any = connection.connection.dbapi_connection
    driver.execute("BEGIN IMMEDIATE" if writes else "BEGIN")


def _ask_after_a_rest(engine: Engine) -> None:
    """Let a connection that nobody has used for a while be asked whether its server is still there, and replaced."""

    def put_back(_connection: Any, record: Any) -> None:
        record.info["since"] = time.monotonic()

    def taken(connection: Any, record: Any, _proxy: object) -> None:
        if time.monotonic() - record.info.get("since", time.monotonic()) > _RESTED_SECONDS:
            try:
                engine.dialect.do_ping(connection)
            except engine.dialect.loaded_dbapi.Error as error:
                raise DisconnectionError("the server is gone, or has been started again") from error

    event.listen(engine, "checkin", put_back)
    event.listen(engine, "checkout", taken)


def _set_up_postgresql(connection: Any, timeout: float) -> None:
    before = connection.autocommit
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('lock_timeout', %s, false)", (f"{max(1, int(timeout * 1_000))}ms",))
        # What is acknowledged is on the disk (L7), whatever the server's default is.
        cursor.execute(
            "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"
        )
    connection.autocommit = before
