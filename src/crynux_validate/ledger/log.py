"""The event log: one accepted action an event, each chained to the one before it (protocol L5)."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from crynux_validate.encoding import (
    DIGEST_BYTES,
    canonical_json,
    check_type,
    digest,
    length_prefixed,
    parse_hex,
    shorten_name,
    summary,
)
from crynux_validate.errors import BrokenLogError, InvalidInputError
from crynux_validate.frozen import freeze, thaw

GENESIS: Final = "0" * 64
"""What the first event has as the digest of the one before it (L5)."""


@dataclass(frozen=True)
class Event:
    """One accepted action, chained to the one before it (L5).

    Parameters
    ----------
    seq
        0, 1, 2, ...
    time
        When, by the ledger's clock.
    kind
        The action's name; ``genesis`` for the first.
    payload
        ``action``: what was asked; ``result``: what came of it. JSON values, read-only; money as decimal strings.
    previous
        The digest of the event before it, 64 hexadecimal digits.
    """

    seq: int
    time: int
    kind: str
    payload: Mapping[str, Any]
    previous: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "payload", freeze(self.payload))

    @classmethod
    def recorded(cls, seq: int, time: int, kind: str, payload: Mapping[str, Any], previous: str) -> "Event":
        """Build an event that keeps its canonical bytes alone: most events are stored, and never looked at again.

        Raises
        ------
        InvalidInputError
            Where the payload has no canonical form.
        """
        event = object.__new__(cls)
        fields = {"seq": seq, "time": time, "kind": kind, "payload": payload, "previous": previous}
        written = canonical_json(fields)
        del fields["payload"]
        vars(event).update(fields, canonical_bytes=written, digest=event_digest(written))
        return event

    def __getattr__(self, name: str) -> Any:
        """Read the payload of an event that was recorded; called only for what is not there yet."""
        if name != "payload":
            raise AttributeError(f"an Event has no attribute {name!r}")
        payload = freeze(json.loads(self.canonical_bytes)["payload"])
        object.__setattr__(self, "payload", payload)
        return payload

    def __repr__(self) -> str:
        return summary(self, f"{self.seq} {self.kind} at {self.time}", f"digest {self.digest[:12]}")

    def to_dict(self) -> dict[str, Any]:
        """Return the event as JSON values."""
        return {**self._fields(), "payload": thaw(self.payload)}

    @cached_property
    def canonical_bytes(self) -> bytes:
        """RFC 8785 JSON of the event: what a log holds."""
        return canonical_json(self._fields())

    @cached_property
    def digest(self) -> str:
        """What the next event has as `previous`: 64 hexadecimal digits, over the canonical bytes."""
        return event_digest(self.canonical_bytes)

    def _fields(self) -> dict[str, Any]:
        names = ("seq", "time", "kind", "payload", "previous")
        return {name: getattr(self, name) for name in names}


def event_digest(canonical_bytes: bytes) -> str:
    """Return the digest of an event that is written as these bytes: 64 hexadecimal digits."""
    return digest("event", length_prefixed(canonical_bytes)).hex()


def does_not_follow(seq: int, event: Event) -> BrokenLogError:
    """Return the error for an event that does not name the event before it (L5)."""
    kind = shorten_name(str(event.kind))
    return BrokenLogError(f"event {seq} ({kind}) does not follow the event before it: one was edited or left out")


def verify_chain(events: Iterable[Event], head: str | None = None) -> None:
    """Check that a log from its first event on is one chain (L5).

    Parameters
    ----------
    events
        All events from seq 0 on, in order; read one by one.
    head
        The digest of the last event, as it was kept elsewhere; without it a log that was cut off or rewritten from some
        event on is not found.

    Raises
    ------
    BrokenLogError
        Names the first event that does not fit.
    InvalidInputError
        For values that are not events, and a head that is not 64 hexadecimal digits.
    """
    kept = None if head is None else parse_hex(head, "the head", DIGEST_BYTES).hex()
    previous = GENESIS
    check_type(events, Iterable, "events", "the events of a log, as of Ledger.events")
    for seq, event in enumerate(events):
        if type(event) is not Event:  # asked here: there may be millions
            check_type(event, Event, f"event {seq}", "an Event, as of Ledger.events")
        if event.seq != seq:
            raise BrokenLogError(f"event {seq} has the number {shorten_name(str(event.seq))}")
        if event.previous != previous:
            raise does_not_follow(seq, event)
        try:
            previous = event.digest
        except InvalidInputError as error:
            raise BrokenLogError(
                f"event {seq} ({shorten_name(str(event.kind))}) has no canonical form: {error}"
            ) from error
    if kept is not None and previous != kept:
        raise BrokenLogError(f"the log ends with {previous}, not with the head {kept}: it was cut off or rewritten")
