"""A ledger in memory, for tests and simulations."""

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, Self

from crynux_validate.ledger.base import StoringLedger
from crynux_validate.ledger.clock import clock_or_system
from crynux_validate.ledger.forks import Gate, tell_of_forks
from crynux_validate.ledger.interface import Beacon, Clock, Event, Group, Policy, Status, Totals
from crynux_validate.ledger.replay import Genesis, beacon_of, genesis_of
from crynux_validate.ledger.rules import Change
from crynux_validate.ledger.store import Head, Store, check_last_value
from crynux_validate.machines.roster import Node

_GONE: Final = object()
"""Stands for no record."""


class MemoryStore:
    """The records of a `MemoryLedger`; implements `crynux_validate.ledger.store.Store`."""

    def __init__(self, start: Genesis) -> None:
        self.id = start.ledger
        self.policy = start.policy
        genesis = start.event()
        self._accounts: dict[str, int] = {}
        self._nodes: dict[str, Node] = {}
        self._joined: dict[str, Node] = {}
        self._groups: dict[str, Group] = {}
        self._tasks: dict[str, str] = {}
        self._drawn: list[tuple[int, str, tuple[str, ...]]] = []
        self._group_count = self._handled = self._last_round = 0
        self._deposited = self._withdrawn = self._burnt = 0
        self._undo: list[tuple[dict[str, Any], str, object]] = []
        self._events = [genesis]
        self.head = Head.of(genesis)

    def balance(self, account: str) -> int:
        return self._accounts.get(account, 0)

    def find_node(self, node: str) -> Node | None:
        return self._nodes.get(node)

    def joined_nodes(self) -> Iterable[Node]:
        return tuple(self._joined.values())

    def find_group(self, group: str) -> Group | None:
        return self._groups.get(group)

    def group_count(self) -> int:
        return self._group_count

    def handled_count(self) -> int:
        return self._handled

    def last_beacon_round(self) -> int:
        return self._last_round

    def drawn_since(self, number: int) -> Mapping[str, str]:
        found: dict[str, str] = {}
        for opened, group, members in reversed(self._drawn):
            if opened < number:
                break
            found |= dict.fromkeys(members, group)
        return found

    def group_with(self, task: str) -> str | None:
        return self._tasks.get(task)

    def write(self, change: Change, event: Event) -> None:
        """Store a change and its event."""
        for name, balance in change.accounts.items():
            self._put(self._accounts, name, balance)
        for name, node in change.nodes.items():
            self._put(self._nodes, name, node)
            self._put(self._joined, name, node if node.joined else _GONE)
        for name, group in change.groups.items():
            self._put(self._groups, name, group)
            if group.status is Status.OPEN:
                self._group_count += 1
                self._last_round = group.beacon_round
                if group.keeps_task:
                    self._put(self._tasks, group.task.digest, name)
            elif change.handled and group.draw is not None:
                self._drawn.append((self._group_count, name, group.members))
            elif group.status.is_over and not group.keeps_task:
                self._put(self._tasks, group.task.digest, _GONE)
        self._handled += change.handled
        self._deposited += change.deposited
        self._withdrawn += change.withdrawn
        self._burnt += change.burnt
        self._events.append(event)
        self.head = Head.of(event)

    @contextmanager
    def transaction(self) -> Iterator["MemoryStore"]:
        """Undo what the block wrote if the block fails."""
        self._undo = []
        money, events = (self._deposited, self._withdrawn, self._burnt), len(self._events)
        queue, drawn = (self._group_count, self._handled, self._last_round), len(self._drawn)
        try:
            yield self
        except BaseException:
            for records, name, before in reversed(self._undo):
                _set(records, name, before)
            self._deposited, self._withdrawn, self._burnt = money
            self._group_count, self._handled, self._last_round = queue
            del self._drawn[drawn:]
            del self._events[events:]
            self.head = Head.of(self._events[-1])
            raise

    def _put(self, records: dict[str, Any], name: str, value: object) -> None:
        """Write a record, or take it away, and note what was there."""
        self._undo.append((records, name, records.get(name, _GONE)))
        _set(records, name, value)

    def events(self, since: int) -> Iterator[Event]:
        return iter(self._events[since:])

    def held(self) -> int:
        return self._deposited - self._withdrawn

    def totals(self) -> Totals:
        return Totals(
            accounts=sum(self._accounts.values()),
            stakes=sum(node.stake for node in self._nodes.values()),
            escrows=sum(group.escrow for group in self._groups.values()),
            burnt=self._burnt,
            deposited=self._deposited,
            withdrawn=self._withdrawn,
        )


def _set(records: dict[str, Any], name: str, value: object) -> None:
    if value is _GONE:
        records.pop(name, None)
    else:
        records[name] = value


class MemoryLedger(StoringLedger):
    """A `crynux_validate.Ledger` in memory, which ends with its process.

    It is thread-safe: actions happen one after the other.

    Parameters
    ----------
    policy
        The parameters; `Policy()` if left out.
    ledger_id
        The id of the ledger, which is part of every commitment and draw: 1 to 128 printable ASCII characters, no
        spaces.
    clock
        A function that returns the time in integer seconds; the system's clock if left out. A time up to 60 seconds
        before the last event is taken for the time of that event; a time before that, or after the year 2100, is a
        `ClockError` (protocol L6).
    beacon
        Public randomness. If left out, a `LocalBeacon`: then the operator of this process must be trusted for draws.
    """

    def __init__(
        self,
        policy: Policy | None = None,
        *,
        ledger_id: str = "memory",
        clock: Clock | None = None,
        beacon: Beacon | None = None,
    ) -> None:
        super().__init__(ledger_id, Policy() if policy is None else policy, clock=clock, beacon=beacon)
        self._store = MemoryStore(Genesis(self.id, self.policy, self._beacon.name, self._clock()))
        self._lock = threading.RLock()
        self.gate = Gate("the ledger in memory")
        tell_of_forks(self)

    @property
    def group_count(self) -> int:
        """The number of groups that were ever opened."""
        return self._store.group_count()

    def before_fork(self) -> None:
        """Do nothing: the child process gets a copy of everything."""

    def after_fork_in_child(self) -> None:
        """Give the child process a new lock."""
        self._lock = threading.RLock()

    @contextmanager
    def _reading(self) -> Iterator[Store]:
        with self._lock, self.gate.inside():
            yield self._store

    @contextmanager
    def _writing(self) -> Iterator[Store]:
        with self._lock, self.gate.inside(), self._store.transaction() as store:
            yield store

    @classmethod
    def replay(cls, events: Sequence[Event], *, clock: Clock | None = None, beacon: Beacon | None = None) -> Self:
        """Build the ledger of a log by repeating every action (protocol L5).

        Parameters
        ----------
        events
            The log, from its first event on.
        clock
            As for the constructor.
        beacon
            The beacon of the log. If left out, the ledger can be read, but if the log has another beacon than a
            `LocalBeacon`, the next draw is an error.

        Raises
        ------
        BrokenLogError
            If the rules do not allow an event, or give another result; the message names the first such event.
        InvalidInputError
            For another beacon than the log's.
        """
        start = genesis_of(events)
        found, later = beacon_of(start, beacon), clock_or_system(clock)
        ledger = cls(start.policy, ledger_id=start.ledger, clock=lambda: start.time, beacon=found)
        with ledger._writing() as store:
            ledger._repeat(store, events)
            if beacon is not None:
                check_last_value(store, beacon)
        ledger._clock = later
        return ledger
