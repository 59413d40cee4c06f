"""Ledgers that are slow, or that fail before or after they have done what was asked."""

import random
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final, Literal

from crynux_validate.encoding import shorten
from crynux_validate.errors import InvalidInputError, StorageError
from crynux_validate.ledger.interface import Ledger
from crynux_validate.testing.ledger_wrapper import ACTIONS, LedgerWrapper, P, T

Seconds = float | Callable[[str], float]
"""How long to wait, from 0: a number, or what a callable says for the name of a method."""

LOST: Final = "the connection failed; whether the action happened is not known: ask the ledger before you repeat it"


class LatencyLedger(LedgerWrapper):
    """A ledger that is far away: each action and query takes time to get there, and its answer to come back.

    Parameters
    ----------
    ledger
        Any ledger.
    before, after
        Seconds before it is done, and between that and the return; also where it raises.
    sleep
        What waits; a test that does not want to can give ``list.append`` or a clock's ``advance``.
    """

    def __init__(
        self,
        ledger: Ledger,
        *,
        before: Seconds = 0.0,
        after: Seconds = 0.0,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        super().__init__(ledger)
        for name, seconds in (("before", before), ("after", after)):
            if not callable(seconds):
                _check_number(name, seconds, "seconds from 0", float("inf"))
        self._before, self._after, self._sleep = before, after, sleep

    def _call(self, name: str, inner: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        self._wait(self._before, name)
        try:
            return inner(*args, **kwargs)
        finally:
            self._wait(self._after, name)

    def _wait(self, seconds: Seconds, name: str) -> None:
        found = seconds(name) if callable(seconds) else seconds
        if found:
            self._sleep(found)


@dataclass(frozen=True)
class Faults:
    """Which calls fail: of certain methods, all, or those with certain numbers, or some at random.

    Parameters
    ----------
    methods
        Names of methods; only their calls are counted. All actions if left out, and no query.
    calls
        Which of them fail, counted from 1; all if left out.
    probability
        With which probability one of those fails, 0 to 1.
    seed
        Of that chance: the same calls fail again.
    """

    methods: Collection[str] = ACTIONS
    calls: Collection[int] | None = None
    probability: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if isinstance(self.methods, str):
            raise InvalidInputError(f"methods is {self.methods!r}; expected a set of names: {{{self.methods!r}}}")
        unknown = sorted(name for name in self.methods if not callable(getattr(Ledger, name, None)))
        if unknown:
            raise InvalidInputError(f"methods names {unknown}, which a ledger does not have")
        if self.calls is not None and any(type(call) is not int or call < 1 for call in self.calls):
            raise InvalidInputError(f"calls is {shorten(self.calls)}; expected numbers of calls, from 1")
        _check_number("probability", self.probability, "0 to 1", 1.0)


@dataclass(frozen=True)
class Injected:
    """A fault that happened: of which method, and whether the action was done nevertheless."""

    method: str
    when: Literal["before", "after"]


class FaultyLedger(LedgerWrapper):
    """A ledger whose actions fail before they are done, or after they were done and stored.

    Both raise the same error, so that the caller cannot tell. What a ledger refuses by itself is refused as ever.

    Parameters
    ----------
    ledger
        Any ledger.
    before
        Which calls fail before anything is done; none if left out.
    after
        Which calls fail when all is done and stored; none if left out. Calls that failed before are not counted.
    error
        Makes what is raised out of a message: an exception class, or any callable.

    Attributes
    ----------
    injected
        What failed so far, in order.
    """

    def __init__(
        self,
        ledger: Ledger,
        *,
        before: Faults | None = None,
        after: Faults | None = None,
        error: Callable[[str], BaseException] = StorageError,
    ) -> None:
        super().__init__(ledger)
        self.injected: list[Injected] = []
        self._before, self._after, self._error = _Schedule(before), _Schedule(after), error

    def _call(self, name: str, inner: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        if self._before.strikes(name):
            self.injected.append(Injected(name, "before"))
            raise self._error(f"{name}: {LOST}")
        found = inner(*args, **kwargs)
        if self._after.strikes(name):
            self.injected.append(Injected(name, "after"))
            raise self._error(f"{name}: {LOST}")
        return found


class _Schedule:
    """Counts the calls of one wrapper; several threads may call."""

    def __init__(self, faults: Faults | None) -> None:
        self._faults = faults
        self._chance = random.Random(None if faults is None else faults.seed)  # noqa: S311 - for tests
        self._calls = 0
        self._lock = threading.Lock()

    def strikes(self, name: str) -> bool:
        """Whether this call fails."""
        faults = self._faults
        if faults is None or name not in faults.methods:
            return False
        with self._lock:
            self._calls += 1
            chosen = faults.calls is None or self._calls in faults.calls
            return chosen and self._chance.random() < faults.probability


def _check_number(name: str, value: object, expected: str, high: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= high:
        raise InvalidInputError(f"{name} is {shorten(value)}; expected {expected}")
