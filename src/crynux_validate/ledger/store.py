"""What a storing ledger keeps, as one transaction reads and writes it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from crynux_validate.errors import InvalidInputError
from crynux_validate.ledger.actions import Action, action_to_dict
from crynux_validate.ledger.beacon import LocalBeacon
from crynux_validate.ledger.interface import Beacon, Event, Totals
from crynux_validate.ledger.rules import Change, State, apply, group_id


@dataclass(frozen=True)
class Head:
    """Where a log ends: the number, time and digest of its last event."""

    seq: int
    time: int
    digest: str

    @classmethod
    def of(cls, event: Event) -> "Head":
        """Return the head of a log that ends with an event."""
        return cls(event.seq, event.time, event.digest)


class Store(State, Protocol):
    """The records of a ledger, as one transaction sees them."""

    @property
    def head(self) -> Head:
        """Where the log ends."""

    def write(self, change: Change, event: Event) -> None:
        """Store a change and its event; what is read afterwards in this transaction has it."""

    def events(self, since: int) -> Iterator[Event]:
        """Read the events from a number on."""

    def totals(self) -> Totals:
        """Return where all money is, added up from the records (L2)."""


def recorded(store: Store, action: Action, now: int) -> tuple[Change, Event] | None:
    """Return what an action changes, and its event; None where nothing changes. Nothing is written.

    Raises
    ------
    LedgerError, InvalidInputError
        Where the rules refuse it, and where its event has no canonical form.
    """
    change = apply(store, action, now)
    if change is None:
        return None
    head = store.head
    payload = {"action": action_to_dict(action), "result": change.result}
    return change, Event.recorded(head.seq + 1, now, action.kind, payload, head.digest)


def check_last_value(store: Store, beacon: Beacon) -> None:
    """Refuse a `LocalBeacon` that did not give the value of the last draw: its name does not say which secret it has.

    Raises
    ------
    InvalidInputError
        For a beacon of another secret.
    """
    if not isinstance(beacon, LocalBeacon):
        return
    for number in range(store.handled_count(), 0, -1):
        group = store.find_group(group_id(number))
        if group is not None and group.draw is not None:
            if beacon.value(group.beacon_round, group.beacon_round * beacon.period) != group.draw.beacon:
                raise InvalidInputError(
                    f"the beacon {beacon.name} has another secret than the one that drew {group.id}: give the old one"
                )
            return
