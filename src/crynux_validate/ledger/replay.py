"""How a log begins, and doing every action of it again (protocol L5)."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from crynux_validate.encoding import check_id, check_type, shorten, shorten_name
from crynux_validate.errors import BrokenLogError, CrynuxValidateError, InvalidInputError
from crynux_validate.frozen import thaw
from crynux_validate.ledger.actions import Action, action_from_dict
from crynux_validate.ledger.beacon import beacon_named, check_beacon
from crynux_validate.ledger.clock import checked_time
from crynux_validate.ledger.interface import GENESIS, Beacon, Event, Policy
from crynux_validate.ledger.log import does_not_follow

_REFUSED: Final = (CrynuxValidateError, AttributeError, KeyError, TypeError, ValueError)
"""What a log that somebody else wrote can raise when it is repeated."""


@dataclass(frozen=True)
class Genesis:
    """What a log begins with.

    Parameters
    ----------
    ledger
        The ledger's id.
    policy
        Its parameters.
    beacon
        The name of its beacon (P4a).
    time
        When it began.
    """

    ledger: str
    policy: Policy
    beacon: str
    time: int

    def event(self) -> Event:
        """Return the first event; raises `InvalidInputError` where it has no canonical form."""
        action = {"ledger": self.ledger, "policy": self.policy.to_dict(), "beacon": self.beacon}
        event = Event(0, checked_time(self.time), "genesis", {"action": action, "result": {}}, GENESIS)
        _ = event.digest
        return event


def genesis_of(events: Sequence[Event]) -> Genesis:
    """Return what a log begins with; raises `BrokenLogError` where it does not."""
    check_type(events, Sequence, "the log", "the events of Ledger.events")
    if events:
        check_type(events[0], Event, "event 0", "an Event, as of Ledger.events")
    if not events or events[0].kind != "genesis":
        raise BrokenLogError("event 0 is not a genesis event: give the log from its first event on")
    try:
        start = thaw(events[0].payload["action"])
        ledger_id, beacon = check_id(start["ledger"], "the ledger id"), check_id(start["beacon"], "the beacon's name")
        return Genesis(ledger_id, Policy.from_dict(start["policy"]), beacon, checked_time(events[0].time))
    except _REFUSED as error:
        raise BrokenLogError(f"event 0 (genesis) cannot be repeated: {error!r:.300}") from error


def beacon_of(start: Genesis, beacon: Beacon | None, secret: bytes | None = None) -> Beacon:
    """Return the beacon of a ledger that began like this (P4a).

    Parameters
    ----------
    start
        How it began.
    beacon
        The one that was given, if any.
    secret
        Of the `LocalBeacon` that it began with, where that is known.

    Raises
    ------
    InvalidInputError
        For another beacon, and one that a ledger with this policy cannot use.
    """
    check_type(start, Genesis, "start", "what genesis_of returns")
    if beacon is None:
        return check_beacon(beacon_named(start.beacon, secret), start.policy)
    if check_beacon(beacon, start.policy).name != start.beacon:
        raise InvalidInputError(
            f"the beacon is {shorten(beacon.name)}; ledger {start.ledger} needs {start.beacon}, with which it began"
        )
    return beacon


def repeat(events: Iterable[Event], start: Genesis, record: Callable[[Action, int], Event | None]) -> Iterator[Event]:
    """Do every action of a log again, in a ledger that has done none; yields each event that came out the same.

    Parameters
    ----------
    events
        The log, from its first event on, which `genesis_of` has read; it is read one by one.
    start
        What `genesis_of` says of it.
    record
        Does an action at a time; returns its event, None where nothing changes.

    Raises
    ------
    BrokenLogError
        Names the first event that the rules do not allow, or whose result they do not give.
    """
    before = None
    for seq, event in enumerate(events):
        if before is not None and event.previous != before.digest:
            raise does_not_follow(seq, event)
        try:
            if before is None:
                again: Event | None = start.event()
            elif checked_time(event.time) < before.time:
                raise BrokenLogError(f"its time {event.time} is before that of the previous event")
            else:
                again = record(action_from_dict(event.kind, thaw(event.payload["action"])), event.time)
        except _REFUSED as error:
            raise BrokenLogError(
                f"event {seq} ({shorten_name(str(event.kind))}) cannot be repeated: {error}"
            ) from error
        _compare(seq, event, again)
        yield event
        before = event


def telling(events: Iterable[Event], on_event: Callable[[Event], None] | None) -> Iterable[Event]:
    """Read a log, and tell somebody each event of it."""
    if on_event is None:
        return events

    def told() -> Iterator[Event]:
        for event in events:
            on_event(event)
            yield event

    return told()


def _compare(seq: int, event: Event, again: Event | None) -> None:
    """Compare an event of a log with what repeating it gave."""
    try:
        same = again is not None and again.digest == event.digest
    except InvalidInputError as error:
        raise BrokenLogError(f"event {seq} ({shorten_name(str(event.kind))}) has no canonical form: {error}") from error
    if not same:
        raise BrokenLogError(f"event {seq} ({shorten_name(str(event.kind))}) differs from its replay")
