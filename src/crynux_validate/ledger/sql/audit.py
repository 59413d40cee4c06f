"""Whether what is stored is what the log says, in memory that does not grow with the log (protocol L5)."""

from collections.abc import Callable
from itertools import chain, islice

from crynux_validate.encoding import shorten
from crynux_validate.errors import BrokenLogError
from crynux_validate.ledger.actions import Action
from crynux_validate.ledger.interface import Event, Group, Policy, Status
from crynux_validate.ledger.memory import MemoryStore
from crynux_validate.ledger.replay import genesis_event, genesis_of, repeat, telling
from crynux_validate.ledger.rules import Change
from crynux_validate.ledger.sql.store import SqlStore
from crynux_validate.ledger.store import recorded


class _Replayed(MemoryStore):
    """The records of a log that is done again; it forgets events, and groups once they are over."""

    def __init__(self, genesis: Event, ledger_id: str, policy: Policy) -> None:
        super().__init__(genesis, ledger_id, policy)
        self._count = 0
        self._over: list[Group] = []

    def group_count(self) -> int:
        return self._count

    def write(self, change: Change, event: Event) -> None:
        """Keep what an action changed, and neither its event nor what was there before."""
        super().write(change, event)
        self._events.clear()
        self._undo.clear()
        for group in change.groups.values():
            if group.status is Status.OPEN:
                self._count += 1
            elif group.status.is_over:
                self._over.append(self._groups.pop(group.id))

    def take_over(self) -> list[Group]:
        """Return the groups that are over since it was asked last."""
        taken, self._over = self._over, []
        return taken

    def groups(self) -> list[Group]:
        """Return the groups that are not over."""
        return list(self._groups.values())


def check_records(
    store: SqlStore, ledger_id: str, policy: Policy, on_event: Callable[[Event], None] | None = None
) -> None:
    """Do every action of a log again, and compare all that is stored with what that gives.

    Raises
    ------
    BrokenLogError
        Names the first event that the rules do not allow, or a record that is not what the log says.
    """
    events = iter(telling(store.events(0), on_event))
    first = list(islice(events, 1))
    *said, began = genesis_of(first)
    if said != [ledger_id, policy]:
        raise BrokenLogError("the ledger's id or policy is not what the log says")
    again = _Replayed(genesis_event(ledger_id, policy, began), ledger_id, policy)

    def record(action: Action, now: int) -> Event | None:
        done = recorded(again, action, now)
        if done is not None:
            again.write(*done)
        return done and done[1]

    for _ in repeat(chain(first, events), ledger_id, policy, record):
        for group in again.take_over():
            _compare(f"group {group.id}", store.find_group(group.id), group)
    for group in again.groups():
        _compare(f"group {group.id}", store.find_group(group.id), group)
    _compare("the number of groups", (store.group_count(), store.count_groups()), (again.group_count(),) * 2)
    for name, balance in store.accounts().items():
        _compare(f"account {name}", balance, again.balance(name))
    nodes = store.all_nodes()
    for node in nodes:
        _compare(f"node {node.id}", node, again.find_node(node.id))
    _compare("the nodes that have joined", [node for node in nodes if node.joined], list(again.joined_nodes()))
    _compare("the money", store.totals(), again.totals())


def _compare(what: str, stored: object, replayed: object) -> None:
    if stored != replayed:
        raise BrokenLogError(f"{what} is not what the log says: {shorten(stored)} is stored, {shorten(replayed)} said")
