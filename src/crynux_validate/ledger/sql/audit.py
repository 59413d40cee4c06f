"""Whether what is stored is what the log says, in memory that does not grow with the log (protocol L5)."""

from collections.abc import Callable, Mapping
from itertools import chain, islice, takewhile
from typing import Any, Final

from crynux_validate.encoding import canonical_json, shorten
from crynux_validate.errors import BrokenLogError
from crynux_validate.ledger.actions import Action, AttestCommit, DrawGroup, OpenGroup
from crynux_validate.ledger.beacon import MissingBeacon
from crynux_validate.ledger.interface import Beacon, Event, Group, Policy
from crynux_validate.ledger.memory import MemoryStore
from crynux_validate.ledger.replay import Genesis, genesis_of, repeat, telling
from crynux_validate.ledger.rules import Change, group_id, group_number
from crynux_validate.ledger.sql import statements
from crynux_validate.ledger.sql.records import class_to_text, group_progress, node_to_row, task_key
from crynux_validate.ledger.sql.store import SqlStore
from crynux_validate.ledger.sql.tables import NODES
from crynux_validate.ledger.store import recorded
from crynux_validate.machines.roster import Node


class _Replayed(MemoryStore):
    """The records of a log that is done again; it forgets events, and groups once they are over."""

    def __init__(self, start: Genesis) -> None:
        super().__init__(start)
        self._over: list[Group] = []

    def write(self, change: Change, event: Event) -> None:
        """Keep what an action changed, and neither its event nor what was there before."""
        super().write(change, event)
        self._events.clear()
        self._undo.clear()
        old = takewhile(lambda drawn: drawn[0] <= self._handled, self._drawn)
        del self._drawn[: len(list(old))]  # nobody waits who could ask for them
        self._over += [self._groups.pop(group.id) for group in change.groups.values() if group.status.is_over]

    def take_over(self) -> list[Group]:
        """Return the groups that are over since it was asked last."""
        taken, self._over = self._over, []
        return taken

    def account_names(self) -> set[str]:
        """Return the names of all accounts."""
        return set(self._accounts)

    def all_nodes(self) -> list[Node]:
        """Return all nodes, in the order in which they first joined."""
        return list(self._nodes.values())

    def groups(self) -> list[Group]:
        """Return the groups that are not over."""
        return list(self._groups.values())


class _OwnBeacon:
    """Compares the rounds and values that the log says with those that the ledger's own beacon gives (P4a, P6).

    Who could take a round that was public at the opening, or a value before its time, would choose the members. A log
    that was taken to another database has, up to there, the values of a secret that this one does not know, and a
    `MissingBeacon` knows none.
    """

    def __init__(self, beacon: Beacon, again: _Replayed, since: int, present: int) -> None:
        self._beacon = beacon
        self._again = again
        self._since = since
        self._present = present

    def look(self, action: Action, now: int) -> None:
        """Compare a round or a value, before it is used again; raises `BrokenLogError` where it is another."""
        if isinstance(self._beacon, MissingBeacon) or self._again.head.seq + 1 < self._since:
            return
        match action:
            case OpenGroup():
                next_round = self._beacon.next_round(now + self._again.policy.beacon_delay_seconds)
                if action.beacon_round != max(next_round, self._again.last_beacon_round()):
                    name = group_id(self._again.group_count() + 1)
                    raise BrokenLogError(f"the beacon round of {name} is not what the ledger's own beacon gives")
            case DrawGroup():
                group = self._again.find_group(action.group)
                if group is not None:
                    self._compare(group.beacon_round, action.beacon, now, f"the beacon's value for {group.id}")
            case AttestCommit():
                number = self._beacon.next_round(self._again.policy.epoch_at(now).starts - 1)
                self._compare(number, action.challenge, now, f"the challenge that {action.node} was given")

    def _compare(self, number: int, said: bytes | None, now: int, what: str) -> None:
        given = self._beacon.value(number, now)
        if not self._beacon.on_ledger_clock:
            # Then it may have been out of reach, or ahead of the ledger; and it may have fallen silent since.
            given = self._beacon.value(number, self._present) if given is None else given
            if said is None or given is None:
                return
        if given != said:
            raise BrokenLogError(f"{what} is not what the ledger's own beacon gives")


def check_records(
    store: SqlStore,
    ledger_id: str,
    policy: Policy,
    beacon: Beacon,
    present: int,
    on_event: Callable[[Event], None] | None = None,
) -> None:
    """Do every action of a log again, and compare all that is stored with what that gives.

    The beacon is asked for what it gave then; one on another clock also for what it gives at the time `present`.

    Raises
    ------
    BrokenLogError
        Names the first event that the rules do not allow, or a record that is not what the log says.
    """
    events = iter(telling(store.events(0), on_event))
    first = list(islice(events, 1))
    start = genesis_of(first)
    if (start.ledger, start.policy, start.beacon) != (ledger_id, policy, beacon.name):
        raise BrokenLogError("the ledger's id, policy or beacon is not what the log says")
    *kept, since = store.first_of(statements.BEGAN)
    said = [canonical_json(policy.to_dict()).decode("utf-8"), beacon.name]
    _compare("what the ledger's row says of its policy and beacon", kept, said)
    again = _Replayed(start)

    own = _OwnBeacon(beacon, again, since, present)
    answers = 0

    def compare(group: Group) -> None:
        nonlocal answers
        answers += sum(len(one.commitments) for one in group.rounds)
        _compare(f"group {group.id}", store.find_group(group.id), group)
        _compare_row(f"group {group.id}", _group_row(store, group), _said_of(group))

    def record(action: Action, now: int) -> Event | None:
        own.look(action, now)
        done = recorded(again, action, now)
        if done is not None:
            again.write(*done)
        return done and done[1]

    for _ in repeat(chain(first, events), start, record):
        for group in again.take_over():
            compare(group)
    for group in again.groups():
        compare(group)
    _compare("where the log ends", store.head, again.head)
    _compare("the number of groups", (store.group_count(), store.count_groups()), (again.group_count(),) * 2)
    queue = again.handled_count(), again.last_beacon_round()
    _compare("the queue of groups", (store.handled_count(), store.last_beacon_round()), queue)
    for name, balance in store.accounts().items():
        _compare(f"account {name}", balance if name in again.account_names() else None, again.balance(name))
    nodes = store.all_nodes()
    for node in nodes:
        _compare(f"node {node.id}", node, again.find_node(node.id))
    joined = {node.id: node for node in again.joined_nodes()}
    _compare("the nodes that have joined", {node.id: node for node in nodes if node.joined}, joined)
    for number, (node, row) in enumerate(zip(again.all_nodes(), store.node_rows(), strict=False)):
        columns = {**node_to_row(node), "number": number}
        _compare_row(f"node {node.id}", dict(zip(_NODE_COLUMNS, row, strict=True)), columns)
    _compare("the money", store.totals(), again.totals())
    _compare("the number of answers", store.first_of(statements.ANSWERS_STORED)[0], answers)
    _compare("the number of tasks without a group", store.first_of(statements.UNUSED_TASKS)[0], 0)
    _compare("the number of weights without a group", store.first_of(statements.UNUSED_WEIGHTS)[0], 0)


_NODE_COLUMNS: Final = tuple(column.name for column in NODES.c)


def _group_row(store: SqlStore, group: Group) -> dict[str, Any]:
    row = store.first_of(statements.GROUP, group=group.id)
    return dict(zip(statements.GROUP_COLUMNS, row, strict=True))


def _said_of(group: Group) -> dict[str, Any]:
    """Return the columns of a group that nothing but the log decides; what else there is, `find_group` reads."""
    return {**group_progress(group), "number": group_number(group.id), "fee": str(group.fee), "base": str(group.base),
            "task": task_key(group.task), "gpu_class": class_to_text(group.gpu_class)}  # fmt: skip


def _compare_row(what: str, stored: Mapping[str, Any], said: Mapping[str, Any]) -> None:
    for name, value in said.items():
        _compare(f"{what}, column {name},", stored[name], value)


def _compare(what: str, stored: object, replayed: object) -> None:
    if stored != replayed:
        raise BrokenLogError(f"{what} is not what the log says: {shorten(stored)} is stored, {shorten(replayed)} said")
