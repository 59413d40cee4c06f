"""What must hold of a ledger, whatever happened to it."""

import collections
from collections.abc import Iterable
from typing import Any, Final

import crynux_validate as cv
from benchmarks.soak.work import line_of, milliseconds
from crynux_validate.frozen import thaw
from crynux_validate.ledger.actions import action_from_dict

_TOLD: Final = {
    "deposit": ("account", "amount"),
    "withdraw": ("account", "amount"),
    "join": ("node",),
    "top_up": ("node",),
    "leave": ("node",),
    "draw": ("group",),
    "commit": ("group", "node", "commitment"),
    "reveal": ("group", "node", "opening"),
    "settle": ("group",),
}


class Follower:
    """Repeats a ledger's log in memory as far as it has come, so that each check costs what is new.

    Checks that every action that was acknowledged is in the log, as often as it was; that the log is one chain that the
    rules give; that what is stored is what they give; that all money is accounted for; and that no node was in two
    groups at once.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._replica: cv.MemoryLedger | None = None
        self._found: collections.Counter[str] = collections.Counter()
        self._acknowledged: collections.Counter[str] = collections.Counter()
        self._busy: dict[str, str] = {}
        self._members: dict[str, Any] = {}
        self.events = 0

    def check(self, acknowledged: Iterable[str], *, everything: bool = False) -> int:
        """Check what is new, or all of it from the beginning; returns how many events the ledger has.

        Parameters
        ----------
        acknowledged
            What was told since the last check.
        everything
            Whether to read the whole database once more, and to repeat the whole log.
        """
        with cv.SqlLedger(self._url, clock=milliseconds, trust_clock=True) as ledger:
            self.follow(ledger)
            if everything:
                ledger.verify_storage()
                ledger.verify_log(self._head)
                ledger.verify_records()
        self.find(acknowledged)
        return self.events

    def follow(self, ledger: cv.SqlLedger) -> None:
        """Read what is new in a ledger that is open, and compare."""
        for event in ledger.events(self.events):
            self._follow(event)
        self._compare(ledger)

    def find(self, acknowledged: Iterable[str]) -> None:
        """Find what was acknowledged in what was read."""
        for line in acknowledged:
            self._acknowledged[line] += 1
            if self._found[line] < self._acknowledged[line]:
                raise AssertionError(f"acknowledged and lost: {line}")

    @property
    def _head(self) -> str:
        return "" if self._replica is None else self._replica.head().digest

    def _follow(self, event: cv.ledger.Event) -> None:
        if self._replica is None:
            self._replica = cv.MemoryLedger.replay([event])
        else:
            action = action_from_dict(event.kind, thaw(event.payload["action"]))
            with self._replica._writing() as store:
                self._replica._record(store, action, event.time)
        if self._head != event.digest:
            raise AssertionError(f"event {event.seq} ({event.kind}) is not what the rules give after those before it")
        self._found.update(_lines_of(event))
        self._check_nobody_is_in_two_groups(event)
        self.events += 1

    def _compare(self, ledger: cv.SqlLedger) -> None:
        replica = self._replica
        if replica is None:
            raise AssertionError("the ledger has no events")
        totals = ledger.totals()
        if not totals.balanced or totals != replica.totals():
            raise AssertionError(f"money was made or lost: {totals} is stored, {replica.totals()} was said")
        stored = (ledger.head(), list(ledger.nodes()), ledger.last_groups(10))
        said = (replica.head(), list(replica.nodes()), [replica.group(group.id) for group in stored[2]])
        if stored[:2] != said[:2] or list(stored[2]) != said[2]:
            raise AssertionError(f"what is stored is not what the log says: {stored}; {said}")
        for account, balance in ledger.accounts().items():
            if replica.account(account) != balance:
                raise AssertionError(f"account {account} has {balance}, and {replica.account(account)} by the log")

    def _check_nobody_is_in_two_groups(self, event: cv.ledger.Event) -> None:
        group = event.payload["action"].get("group")
        if event.kind == "draw" and "members" in event.payload["result"]:
            self._members[group] = event.payload["result"]["members"]
            for node in self._members[group]:
                if node in self._busy:
                    raise AssertionError(f"{node} was drawn for {group} while it was in {self._busy[node]}")
                self._busy[node] = group
        if event.kind == "settle":
            for node in self._members[group]:
                del self._busy[node]


def check(url: str, acknowledged: Iterable[str]) -> int:
    """Check a ledger from its beginning against what was acknowledged; returns how many events it has."""
    return Follower(url).check(acknowledged, everything=True)


def _lines_of(event: cv.ledger.Event) -> list[str]:
    if event.kind == "open_group":
        return [line_of(event.kind, {"group": event.payload["result"]["group"]})]
    return [line_of(event.kind, {name: event.payload["action"][name] for name in _TOLD.get(event.kind, ())})]
