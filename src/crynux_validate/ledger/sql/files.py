"""Files of SQLite: made, and set to write ahead."""

import os
import sqlite3
import time
from contextlib import suppress

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from crynux_validate.errors import StorageError
from crynux_validate.ledger.sql.troubles import SQLITE_BUSY, sqlite_code
from crynux_validate.ledger.sql.urls import Address


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
