"""The ledgers that every test of the rules runs on, each made anew wherever a test asks for one."""

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final
from weakref import WeakKeyDictionary

import crynux_validate as cv
from crynux_validate.ledger.base import StoringLedger
from tests.ledger.postgresql import Server

NAMES: Final = ("memory", "sqlite", "postgresql")

_numbers = itertools.count()


class Backend:
    """Makes ledgers of one kind, and others that hold what a log says."""

    def __init__(self, name: str, new_url: Callable[[], str] | None = None) -> None:
        self.name = name
        self._new_url = new_url
        self._made: WeakKeyDictionary[StoringLedger, tuple[str, dict[str, Any]]] = WeakKeyDictionary()

    def make(self, policy: cv.Policy | None = None, **options: Any) -> StoringLedger:
        """A new, empty ledger; `again` opens it once more."""
        if self._new_url is None:
            return cv.MemoryLedger(policy, **options)
        url = self._new_url()
        ledger = cv.SqlLedger(url, policy, trust_clock=True, **options)
        self._made[ledger] = url, {name: options[name] for name in ("clock", "beacon") if name in options}
        return ledger

    def again(self, ledger: StoringLedger) -> StoringLedger:
        """Another process's view of a ledger: nothing but what is stored. A ledger in memory has only itself."""
        if self._new_url is None:
            return ledger
        url, options = self._made[ledger]
        return cv.SqlLedger(url, trust_clock=True, **options)

    def url_of(self, ledger: StoringLedger) -> str:
        """Where a ledger is stored."""
        return self._made[ledger][0]

    def replay(self, events: Sequence[cv.ledger.Event], **options: Any) -> StoringLedger:
        """A new ledger that a log describes."""
        if self._new_url is None:
            return cv.MemoryLedger.replay(events, **options)
        return cv.SqlLedger.replay(events, self._new_url(), trust_clock=True, **options)


current = Backend("memory")
"""What the test that runs now uses; a fixture sets it."""


def use(backend: Backend) -> None:
    """Let the tests that follow run on another kind of ledger."""
    global current
    current = backend


def sqlite(folder: Path) -> Backend:
    """Ledgers in files of a folder."""
    return Backend("sqlite", lambda: f"sqlite:///{folder / f'ledger-{next(_numbers)}.db'}")


def postgresql(server: Server) -> Backend:
    """Ledgers in schemas of their own."""
    return Backend("postgresql", server.new_url)
