"""What a storing ledger keeps, as one transaction reads and writes it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from crynux_validate.ledger.interface import Event, Totals
from crynux_validate.ledger.rules import Change, State


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
