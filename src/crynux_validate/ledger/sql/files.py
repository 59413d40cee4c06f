"""Files of SQLite: made, set to write ahead, and watched, for operators move and replace them while they are in use."""

import os
import sqlite3
import time
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Engine, event
from sqlalchemy.exc import DBAPIError

from crynux_validate.errors import StorageError
from crynux_validate.ledger.sql.troubles import SQLITE_BUSY, sqlite_code
from crynux_validate.ledger.sql.urls import Address, without_locks

_FILES: Final = "crynux_files"
"""Where a connection notes which files it has open."""

_CANNOT_MAKE: Final = (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY)

_spoilt: set["Identity"] = set()
"""Files that SQLite cannot use in this process, because it was forked while somebody was in a transaction on them."""

Identity = tuple[int, int] | None
"""Device and number of a file; None where there is none."""


def claim_file(address: Address, timeout: float) -> None:
    """Make the file of a new SQLite ledger, and refuse one that is empty.

    SQLite takes an empty file for a new database. One that was there before, and stays empty, may be a ledger that was
    cut off: to begin a new one in its place would lose it in silence.
    """
    path = address.path
    if path is None or address.mode != "rwc":
        return
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
            code = sqlite_code(error)
            if code == sqlite3.SQLITE_READONLY:
                return
            if code not in SQLITE_BUSY or time.monotonic() > waits_until:
                raise DBAPIError("PRAGMA journal_mode=WAL", None, error) from error
        finally:
            connection.close()
        time.sleep(0.01)


def where_nothing_can_be_made(address: Address) -> Address:
    """Return how to read a file beside which SQLite cannot make the small files that it needs: a read-only medium.

    Then nobody else here writes either, and the file is read without locks, if all of the ledger is in it.

    Raises
    ------
    StorageError
        Where its newest actions are in a file beside it.
    """
    path = address.path
    if path is None or address.mode != "ro":
        return address
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        return address
    except sqlite3.Error as error:
        if sqlite_code(error) not in _CANNOT_MAKE or not os.access(path, os.R_OK) or not path.stat().st_size:
            return address  # opening it says what it is
    for beside in _beside(path, "-wal", "-journal"):
        if _size(beside):
            raise StorageError(
                f"{address.shown}: its newest actions are in {beside.name}, which SQLite cannot use here because the "
                f"folder may not be written to; copy both files to a folder of your own"
            )
    return without_locks(address)


@dataclass
class Watch:
    """Whether a ledger's file is the one that stands at its path.

    A process that has a file open goes on in it after it was moved away, replaced or removed, and SQLite does not look.
    So each transaction does, when it has begun, before it is stored and before it is acknowledged.

    Parameters
    ----------
    address
        Of the file.
    """

    address: Address
    _main: Identity = field(default=None, init=False)
    _as_read: tuple[object, ...] | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        path = self.address.path
        if path is None:
            raise ValueError("only a file is watched")
        self._path = path
        self._paths = (path, *_beside(path, "-wal", "-shm"))
        self._unchanging = "immutable" in self.address.url.query

    def listen(self, engine: Engine) -> None:
        """Look whenever an engine opens the file."""
        event.listen(engine, "do_connect", self._open)

    def _open(self, _dialect: object, _record: object, args: Any, options: Any) -> sqlite3.Connection:
        """Open the file, unless another one has come to its path since this ledger opened it first."""
        before = _identity(self._path)
        if before is not None and before in _spoilt:
            raise StorageError(
                f"{self.address.shown}: this process was forked while a transaction on it was open; fork when there is "
                "none, or start processes with multiprocessing's 'spawn' or 'forkserver'"
            )
        connection: sqlite3.Connection = sqlite3.connect(*args, **options)
        if before != _identity(self._path) or (self._main or before) != before:
            connection.close()
            raise self._moved("nothing has changed")
        self._main = before
        return connection

    def spoil(self) -> None:
        """Open the file no more in this process."""
        _spoilt.add(self._main)

    def begun(self, notes: dict[Any, Any]) -> None:
        """Look when a transaction has begun on a connection with these notes, which now has its files open."""
        if _FILES not in notes:
            notes[_FILES] = (self._main, *map(_identity, self._paths[1:]))
        if self._unchanging and self._as_read is None:
            self._as_read = self._content()
        self.check(notes)

    def check(self, notes: dict[Any, Any], what: str = "nothing has changed") -> None:
        """Look again.

        Raises
        ------
        StorageError
            Where another file, or none, is there; ends with what became of the action.
        """
        if self._unchanging:
            if (_identity(self._path), self._content()) != (self._main, self._as_read):
                raise StorageError(f"{self.address.shown}: somebody wrote to it while it was read without locks")
        elif tuple(map(_identity, self._paths)) != notes[_FILES]:
            raise self._moved(what)

    def _content(self) -> tuple[object, ...]:
        try:
            found = os.stat(self._path)
        except OSError:
            return ()
        return found.st_size, found.st_mtime_ns, *(_size(beside) for beside in self._paths[1:])

    def _moved(self, what: str) -> StorageError:
        return StorageError(
            f"{self.address.shown}: the file that this ledger has open, or one beside it (-wal, -shm), was moved, "
            f"replaced or removed; {what}. Open the ledger again, with a new SqlLedger"
        )


def _beside(path: Path, *endings: str) -> tuple[Path, ...]:
    return tuple(path.with_name(path.name + ending) for ending in endings)


def _identity(path: Path) -> Identity:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _size(path: Path) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0
