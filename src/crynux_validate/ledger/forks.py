"""Processes that are forked: the child has in part what a thread was just doing, and its locks for good.

So a fork waits until no transaction is open. Where one does not end, the child refuses the ledger.
"""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, Protocol
from weakref import WeakSet

from crynux_validate.errors import StorageError

_WAIT_SECONDS: Final = 1.0
"""How long a fork waits for transactions: a thread may wait for the one that forks."""


class Gate:
    """Who is in a transaction of a ledger; while a process is forked, nobody begins one.

    Parameters
    ----------
    what
        The ledger, as errors say it.
    waits
        Whether a fork waits for transactions at all; where a child begins with connections of its own, it need not.
    """

    def __init__(self, what: str, *, waits: bool = True) -> None:
        self._what = what
        self._waits = waits
        self._begin()

    def _begin(self) -> None:
        self._changed = threading.Condition(threading.Lock())
        self._inside: dict[int, int] = {}
        self._held = False
        self.is_quiet = True
        self._process = os.getpid()
        self._refuses = False

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Be in a transaction, or in several, one in another.

        Raises
        ------
        StorageError
            In a process that was forked while a transaction was open.
        """
        if self._refuses:
            raise StorageError(
                f"{self._what}: this process was forked during a transaction, and cannot use this ledger: fork when no "
                "thread uses it, or start processes with the method 'spawn' or 'forkserver'"
            )
        thread = threading.get_ident()
        with self._changed:
            while self._held and thread not in self._inside:
                self._changed.wait()
            self._inside[thread] = self._inside.get(thread, 0) + 1
        process = self._process
        try:
            yield
        finally:
            if process == self._process:  # in a fork that this thread made within, the count begins anew
                with self._changed:
                    self._inside[thread] -= 1
                    if not self._inside[thread]:
                        del self._inside[thread]
                        if self._held:
                            self._changed.notify_all()

    def hold(self, ends: float) -> None:
        """Let nobody begin, and wait until all have ended, unless this thread is in one, and would wait for itself."""
        if not self._waits:
            return
        with self._changed:
            self._held = True
            while self._inside and threading.get_ident() not in self._inside:
                if not self._changed.wait(max(0.0, ends - time.monotonic())):
                    break
            self.is_quiet = not self._inside

    def let_go(self) -> None:
        """Let all go on, in the process that was forked from."""
        with self._changed:
            self._held = False
            self._changed.notify_all()

    def begin_in_child(self) -> None:
        """Begin anew in the process that came of it."""
        refuses = self._refuses or not self.is_quiet
        self._begin()
        self._refuses = refuses


class Forked(Protocol):
    """A ledger that is told of forks."""

    gate: Gate

    def before_fork(self) -> None:
        """Give back what a child must not have; called only where no transaction is open."""

    def after_fork_in_child(self) -> None:
        """Begin anew; ``gate.is_quiet`` says whether a transaction was open."""


_ledgers: WeakSet[Any] = WeakSet()
_held: Final[list[Forked]] = []
_forking: Final = threading.RLock()


def tell_of_forks(ledger: Forked) -> None:
    """Tell a ledger of forks, as long as it lives."""
    with _forking:
        _ledgers.add(ledger)


def _before() -> None:
    _forking.acquire()
    _held[:] = list(_ledgers)
    ends = time.monotonic() + _WAIT_SECONDS
    for ledger in _held:
        ledger.gate.hold(ends)
        if ledger.gate.is_quiet:
            ledger.before_fork()


def _after_in_parent() -> None:
    for ledger in _held:
        ledger.gate.let_go()
    _held.clear()
    _forking.release()


def _after_in_child() -> None:
    for ledger in _held:
        ledger.after_fork_in_child()
        ledger.gate.begin_in_child()
    _held.clear()
    _forking.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child)
