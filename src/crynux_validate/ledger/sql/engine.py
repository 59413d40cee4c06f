"""Connections to databases, and how a transaction on them begins.

Nothing is set for longer than a transaction, and no statement is prepared for longer: behind a pooler such as PgBouncer
each transaction may have another connection of the server, with what somebody else has set there.
"""

import sqlite3
import time
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DisconnectionError

from crynux_validate.errors import MissingExtraError, StorageError
from crynux_validate.ledger.sql.files import Watch
from crynux_validate.ledger.sql.troubles import dbapi_error, storage_errors
from crynux_validate.ledger.sql.urls import Address

_BEGINNING: Final = "crynux_beginning"
"""The execution option that says how a transaction begins."""

_RESTED_SECONDS: Final = 1.0
"""After how long a connection that rested is asked whether it still stands. To ask each time would be one more round
trip beside the two of an action."""

_SYNCHRONOUS: Final = (
    "SELECT pg_catalog.set_config('synchronous_commit', 'on', true) "
    "WHERE pg_catalog.current_setting('synchronous_commit') = 'off'"
)
"""What is acknowledged is on the disk (L7), whatever the server's default is."""

_ON_SERVER: Final = (
    "SELECT (SELECT reset_val FROM pg_catalog.pg_settings WHERE name = 'search_path'), pg_catalog.current_schema()"
)


@dataclass(frozen=True)
class Beginnings:
    """What begins a transaction that reads, as of one moment, and one that writes, after all others."""

    reading: str = "BEGIN"
    writing: str = "BEGIN IMMEDIATE"


class Database:
    """A database with its connections.

    Its transactions are whole, seen by nobody before they end, and then on the disk.

    Parameters
    ----------
    address
        Of `read_url`.
    timeout
        How many seconds to wait for others.

    Attributes
    ----------
    engine
        Lends the connections.
    begins
        How transactions begin.
    watch
        Looks whether a file is still where it was.
    """

    def __init__(self, address: Address, timeout: float) -> None:
        self.address = address
        self.watch = Watch(address) if address.is_sqlite else None
        self.begins = Beginnings()
        try:
            self.engine = _sqlite(address, timeout) if address.is_sqlite else _postgresql(address, timeout)
        except ModuleNotFoundError as error:
            raise MissingExtraError("a ledger on PostgreSQL", "postgresql", error.name or "psycopg") from error
        if not address.is_sqlite:
            try:
                with storage_errors(address.shown):
                    self.begins = self._beginnings(timeout)
            except BaseException:
                self.engine.dispose()
                raise
        if self.watch is not None:
            self.watch.listen(self.engine)
        event.listen(self.engine, "begin", self._begin)

    def engine_for(self, beginning: str) -> Engine:
        """Return the engine for transactions of SQLAlchemy's that begin in some way."""
        return self.engine.execution_options(**{_BEGINNING: beginning})

    def _begin(self, connection: Connection) -> None:
        """Begin a transaction of SQLAlchemy's: its driver would begin it later, and otherwise."""
        driver: Any = connection.connection.dbapi_connection
        usual = "BEGIN" if self.address.is_sqlite else self.begins.writing
        beginning = connection.get_execution_options().get(_BEGINNING, usual)
        try:
            driver.execute(beginning)
        except self.engine.dialect.loaded_dbapi.Error as error:
            lost = self.engine.dialect.is_disconnect(error, driver, None)
            raise dbapi_error(self.engine.dialect, beginning, error, lost) from error

    def _beginnings(self, timeout: float) -> Beginnings:
        """Return how transactions begin on a server: with all that holds for them.

        The search path is set because somebody else may have changed it on the same connection of the server. Temporary
        tables come last in it, for somebody else may have made some.
        """
        settings = dict(self.address.settings)
        with self.engine.connect() as connection:
            path, _ = connection.exec_driver_sql(_ON_SERVER).one()
        path = settings.pop("search_path", path)
        settings["search_path"] = f"{path}, pg_temp" if path.strip() else "pg_temp"
        settings["lock_timeout"] = f"{max(1, int(timeout * 1_000))}ms"
        sent = "; ".join([_set(settings), _SYNCHRONOUS])
        found = Beginnings(
            # Who writes waits for the ledger's row and then sees what the last one wrote; who reads sees one moment.
            reading=f"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; {sent}",
            writing=f"BEGIN ISOLATION LEVEL READ COMMITTED; {sent}",
        )
        self._check_schema(found, path)
        return found

    def _check_schema(self, begins: Beginnings, path: str) -> None:
        with self.engine.connect() as connection:
            connection.exec_driver_sql(begins.reading)
            _, schema = connection.exec_driver_sql(_ON_SERVER).one()
            connection.exec_driver_sql("ROLLBACK")
        if schema is None or schema.startswith("pg_temp"):
            raise StorageError(
                f"{self.address.shown}: the search path {path!r} names no schema in which tables are kept; make one "
                "with CREATE SCHEMA, or name another"
            )


def _sqlite(address: Address, timeout: float) -> Engine:
    engine = create_engine(address.url, connect_args={"timeout": timeout}, pool_timeout=timeout)
    event.listen(engine, "connect", _set_up_sqlite)
    return engine


def _postgresql(address: Address, timeout: float) -> Engine:
    engine = create_engine(
        address.url,
        isolation_level="AUTOCOMMIT",  # transactions begin where this library says
        pool_timeout=timeout,
        use_native_hstore=False,
        connect_args={"prepare_threshold": None, **({"options": ""} if address.settings else {})},
    )
    _ask_after_a_rest(engine)
    return engine


def _set(settings: dict[str, str]) -> str:
    from psycopg.sql import Literal

    each = (
        f"pg_catalog.set_config({Literal(name).as_string()}, {Literal(value).as_string()}, true)"
        for name, value in settings.items()
    )
    return f"SELECT {', '.join(each)}"


def _set_up_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None  # transactions begin where this library says, not where the driver guesses
    for pragma in ("synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


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
