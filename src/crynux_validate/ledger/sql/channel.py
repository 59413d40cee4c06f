"""How the statements of an action are sent: compiled once, and run on the driver's own cursor.

SQLAlchemy knows the dialects, makes the tables and lends connections. To send a statement, and to begin and end a
transaction, it takes several times as long as SQLite takes for it, so what every action needs goes past it.
"""

import ctypes
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, Final

from sqlalchemy import Dialect, Engine, Executable, PoolProxiedConnection
from sqlalchemy.dialects.postgresql import insert as insert_in_postgresql
from sqlalchemy.dialects.sqlite import insert as insert_in_sqlite
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite as SQLiteDialect
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql.expression import ClauseElement, TableClause

from crynux_validate.errors import StorageError
from crynux_validate.ledger.sql.files import Watch
from crynux_validate.ledger.sql.troubles import dbapi_error

_INSERT: Final[Mapping[str, Callable[[TableClause], Any]]] = {
    "sqlite": insert_in_sqlite,
    "postgresql": insert_in_postgresql,
}


class Statement:
    """A statement with named parameters, compiled when it is first sent to a kind of database.

    Parameters
    ----------
    build
        Gives the statement for a dialect's name.
    columns
        For an insert or update, the columns that are set, each by the parameter of its name.
    """

    def __init__(self, build: Callable[[str], ClauseElement], columns: Sequence[str] | None = None) -> None:
        self._build = build
        self._columns = columns
        self._compiled: dict[str, tuple[str, dict[str, Any]]] = {}

    @classmethod
    def of(cls, core: Executable, columns: Sequence[str] | None = None) -> "Statement":
        """Return a statement that is the same for all dialects."""
        return cls(lambda _: core, columns)  # type: ignore[return-value, arg-type]

    @classmethod
    def upsert(cls, table: TableClause, keys: Sequence[str], changes: Sequence[str] = ()) -> "Statement":
        """Return an insert that, where a row with these keys is there, changes those columns of it, or nothing."""

        def build(dialect: str) -> ClauseElement:
            made = _INSERT[dialect](table)
            changed = {name: made.excluded[name] for name in changes}
            if changed:
                return made.on_conflict_do_update(index_elements=keys, set_=changed)  # type: ignore[no-any-return]
            return made.on_conflict_do_nothing(index_elements=keys)  # type: ignore[no-any-return]

        return cls(build)

    def compiled(self, dialect: Dialect) -> tuple[str, Mapping[str, Any]]:
        """Return what is sent, and those of its parameters that are always the same."""
        found = self._compiled.get(dialect.name)
        if found is None:
            named = SQLiteDialect(paramstyle="named") if dialect.name == "sqlite" else dialect
            made = self._build(dialect.name).compile(dialect=named, column_keys=self._columns)
            found = str(made), {name: value for name, value in made.params.items() if value is not None}
            self._compiled[dialect.name] = found
        return found


class Channel:
    """Sends statements on a connection.

    What a driver raises becomes SQLAlchemy's `DBAPIError`, as if SQLAlchemy had sent the statement.
    """

    def __init__(self, connection: PoolProxiedConnection, dialect: Dialect) -> None:
        self._connection = connection
        self._dialect = dialect
        self._cursor = connection.cursor()
        self._pipeline = ExitStack()
        self._process = os.getpid()

    @property
    def notes(self) -> dict[Any, Any]:
        """What is kept with the connection, as long as it is open."""
        return self._connection.info

    @property
    def is_here(self) -> bool:
        """Whether this process opened it; one that was forked from it must leave it alone."""
        return self._process == os.getpid()

    def begin(self, beginning: str, first: Sequence[Statement] = ()) -> list[Any]:
        """Begin a transaction, and return the first row of the answer to each of some statements without parameters.

        A server is sent all of it at once, and does one after the other.
        """
        if self._dialect.name == "sqlite":
            self._execute(beginning)
            return [self.row(statement) for statement in first]
        texts = [beginning, *(statement.compiled(self._dialect)[0] for statement in first)]
        self._execute("; ".join(texts))
        answers: Any = self._cursor
        rows: list[Any] = []
        while answers.nextset():
            rows.append(answers.fetchone() if answers.description else None)
        return rows[len(rows) - len(first) :]

    def send_ahead(self) -> None:
        """Let a server wait for nothing: what is written from here on is answered together with the end."""
        if not self.is_here:
            raise StorageError("this process was forked within the transaction, and is not in it: its parent stores it")
        if self._dialect.name == "sqlite":
            return
        try:
            self._pipeline.enter_context(self._connection.driver_connection.pipeline())  # type: ignore[union-attr]
        except self._dialect.loaded_dbapi.Error as error:
            raise self._named("several statements", error) from error

    def commit(self) -> None:
        """End the transaction: what it wrote is stored for good."""
        try:
            self._cursor.execute("COMMIT")
            self._pipeline.close()
        except self._dialect.loaded_dbapi.Error as error:
            raise self._named("COMMIT", error) from error

    def close(self) -> None:
        """Give the connection back; a transaction that has not ended is undone."""
        if not self.is_here:
            # Its parent goes on with it. To close it, also when Python ends, would undo what the parent does.
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self))
            return
        with suppress(self._dialect.loaded_dbapi.Error):  # that it failed has been said, and nothing of it happened
            self._pipeline.close()
        self.end()
        self._connection.close()

    def end(self) -> None:
        """Ask nothing more: an answer that was read half keeps a SQLite file open after its connection was closed."""
        with suppress(self._dialect.loaded_dbapi.Error):
            self._cursor.close()

    def _execute(self, text: str) -> None:
        try:
            self._cursor.execute(text)
        except self._dialect.loaded_dbapi.Error as error:
            raise self._named(text, error) from error

    def rows(self, statement: Statement, **values: object) -> list[Any]:
        """Return all rows of an answer: tuples of what the driver reads, so a truth value may be 0 or 1."""
        text, fixed = statement.compiled(self._dialect)
        try:
            self._cursor.execute(text, {**fixed, **values} if fixed else values)
            return self._cursor.fetchall()  # type: ignore[return-value]
        except self._dialect.loaded_dbapi.Error as error:
            raise self._named(text, error) from error

    def row(self, statement: Statement, **values: object) -> Any:
        """Return the first row of an answer; None where there is none."""
        return next(iter(self.rows(statement, **values)), None)

    def write(self, statement: Statement, rows: Sequence[Mapping[str, object]]) -> None:
        """Send a statement once for each row."""
        if not rows:
            return
        text, _ = statement.compiled(self._dialect)
        try:
            if len(rows) == 1:
                self._cursor.execute(text, rows[0])
            else:
                self._cursor.executemany(text, rows)
        except self._dialect.loaded_dbapi.Error as error:
            raise self._named(text, error) from error

    def _named(self, text: str, error: Exception) -> DBAPIError:
        lost = self._dialect.is_disconnect(error, self._connection.dbapi_connection, self._cursor)  # type: ignore[arg-type]
        if lost:
            self._connection.invalidate(error)
        return dbapi_error(self._dialect, text, error, lost)


class Writer:
    """The transactions of a process that write, one at a time.

    The connection to a SQLite file is kept from one to the next: to borrow one takes as long as to write. One to a
    server is given back each time, and the pool asks now and then whether it still stands.

    Parameters
    ----------
    engine
        Lends the connections.
    beginning
        What begins a transaction.
    watch
        Looks whether a file is still where it was.
    """

    def __init__(self, engine: Engine, beginning: str, watch: Watch | None) -> None:
        self._engine = engine
        self._watch = watch
        self._beginning = beginning
        self._keeps = engine.dialect.name == "sqlite"
        self._kept: list[Channel] = []

    @contextmanager
    def transaction(self, first: Sequence[Statement]) -> Iterator[tuple[Channel, list[Any]]]:
        """Give a channel in a transaction, which is stored when the block has ended, and undone where it fails.

        With it comes the first row of the answer to each of the first statements.
        """
        try:
            channel = self._kept.pop()
        except IndexError:
            channel = borrowed(self._engine)
        try:
            found = channel.begin(self._beginning, first)
            if self._watch is not None:
                self._watch.begun(channel.notes)
            yield channel, found
            if self._watch is not None:
                self._watch.check(channel.notes)
            channel.commit()
            if self._watch is not None:
                self._watch.check(channel.notes, "what this action did is in the file that was there before")
        except BaseException:
            channel.close()
            raise
        if self._keeps:
            self._kept.append(channel)
        else:
            channel.close()

    def close(self) -> None:
        """Give the kept connection back; one that is in a transaction just now is not touched."""
        with suppress(IndexError):
            self._kept.pop().close()


def borrowed(engine: Engine) -> Channel:
    """Return a channel on a connection of the engine's, which is given back when the channel is closed."""
    dialect = engine.dialect
    try:
        return Channel(engine.raw_connection(), dialect)
    except dialect.loaded_dbapi.Error as error:
        raise dbapi_error(dialect, "connecting", error, lost=False) from error
