"""The life of a group as one table: how each action ends in each phase (protocol P4b, C2, C5, L6)."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from crynux_validate.errors import AlreadyDoneError, LedgerError, TooEarlyError, TooLateError
from crynux_validate.ledger.group import Group, Status


class Phase(StrEnum):
    """Where a group stands; it follows from the group and the time."""

    WAITING = "WAITING"
    """Not drawn, before its draw deadline."""
    LATE = "LATE"
    """Not drawn, at its draw deadline or after it."""
    COMMIT_1 = "COMMIT 1"
    """The first round, before its reveals are open."""
    REVEAL_1 = "REVEAL 1"
    """The first round, until it is over."""
    COMMIT_2 = "COMMIT 2"
    """The second round, before its reveals are open."""
    REVEAL_2 = "REVEAL 2"
    """The second round, until it is over."""
    OVER = "OVER"
    """All rounds are over."""
    SETTLED = "SETTLED"
    """Judged and paid."""
    CLOSED = "CLOSED"
    """It could not be drawn."""


class Act(StrEnum):
    """The actions on a group that are possible now, and the members that can still take them."""

    DRAW = "draw, value public"
    DRAW_WITHOUT = "draw, no value"
    COMMIT_1 = "commit, round 1"
    REVEAL_1 = "reveal, round 1"
    COMMIT_2 = "commit, round 2"
    REVEAL_2 = "reveal, round 2"
    SETTLE = "settle"


Ends = Status | type[LedgerError]
"""The status that a group has afterwards, or the error that refuses the action."""

_EARLY, _LATE, _DONE = TooEarlyError, TooLateError, AlreadyDoneError


def _row(*ends: Ends) -> Mapping[Act, Ends]:
    return dict(zip(Act, ends, strict=True))


LIFE: Final[Mapping[Phase, Mapping[Act, Ends]]] = {
    # draw, draw without a value, commit 1, reveal 1, commit 2, reveal 2, settle
    Phase.WAITING: _row(Status.DRAWN, _EARLY, _EARLY, _EARLY, _EARLY, _EARLY, _EARLY),
    Phase.LATE: _row(Status.DRAWN, Status.CLOSED, _EARLY, _EARLY, _EARLY, _EARLY, _EARLY),
    Phase.COMMIT_1: _row(_DONE, _DONE, Status.DRAWN, _EARLY, _EARLY, _EARLY, _EARLY),
    Phase.REVEAL_1: _row(_DONE, _DONE, _LATE, Status.DRAWN, _EARLY, _EARLY, _EARLY),
    Phase.COMMIT_2: _row(_DONE, _DONE, _LATE, _LATE, Status.DRAWN, _EARLY, _EARLY),
    Phase.REVEAL_2: _row(_DONE, _DONE, _LATE, _LATE, _LATE, Status.DRAWN, _EARLY),
    Phase.OVER: _row(_DONE, _DONE, _LATE, _LATE, _LATE, _LATE, Status.SETTLED),
    Phase.SETTLED: _row(_DONE, _DONE, _LATE, _LATE, _LATE, _LATE, Status.SETTLED),
    Phase.CLOSED: _row(_DONE, _DONE, _LATE, _LATE, _LATE, _LATE, Status.CLOSED),
}
"""How each action ends in each phase. A draw with a value may also close the group (P4f); settling a group that is
settled or closed changes nothing (L6)."""

_ANSWERING: Final = ((Phase.COMMIT_1, Phase.REVEAL_1), (Phase.COMMIT_2, Phase.REVEAL_2))


def phase_of(group: Group, now: int) -> Phase:
    """Return where a group stands at a time."""
    if group.status is Status.OPEN:
        return Phase.WAITING if now < group.draw_deadline else Phase.LATE
    if group.status is not Status.DRAWN:
        return Phase(group.status.value)
    for number, (committing, revealing) in enumerate(_ANSWERING[: len(group.rounds)], 1):
        if not group.reveals_open(now, number):
            return committing
        if not group.is_over(now, number):
            return revealing
    return Phase.OVER


def check_act(group: Group, act: Act, now: int) -> None:
    """Refuse an action whose moment has not come, or has passed.

    Raises
    ------
    TooEarlyError, TooLateError, AlreadyDoneError
        As `LIFE` says; with what the group waits for.
    """
    phase = phase_of(group, now)
    end = LIFE[phase][act]
    if isinstance(end, Status):
        return
    why, when = _why(group, phase, act)
    said = f"group {group.id} {why}; it is now {now}"
    if end is TooEarlyError:
        raise TooEarlyError(said, moment=when)
    raise TooLateError(said, deadline=when) if end is TooLateError else end(said)


def _why(group: Group, phase: Phase, act: Act) -> tuple[str, int | None]:
    """Say where a group stands that refuses an action, and the deadline that decides, where there is one."""
    if act in (Act.DRAW, Act.DRAW_WITHOUT):
        if phase is Phase.WAITING:
            return f"waits for beacon round {group.beacon_round}, which is not public yet: draw later", None
        return f"is {group.status}: its members cannot be drawn again", None
    if phase in (Phase.WAITING, Phase.LATE):
        return "has not been drawn: draw it first, which closes it if it cannot be drawn", None
    if group.status is not Status.DRAWN:
        return f"is {group.status}", None
    if act is Act.SETTLE:
        return _waits(group, phase)
    number = 1 if act in (Act.COMMIT_1, Act.REVEAL_1) else 2
    if number == 2 and phase in _ANSWERING[0]:
        return "is in its first round, which is not over: answer in the second one then (C5)", None
    answering = group.rounds[number - 1]
    if act in (Act.COMMIT_1, Act.COMMIT_2):
        return f"took commitments until {answering.commit_deadline}", answering.commit_deadline
    if LIFE[phase][act] is TooEarlyError:
        missing = len(group.asked(number)) - len(answering.commitments)
        until = answering.commit_deadline
        return f"waits for {missing} commitments until {until}: reveal then", until
    return f"took reveals until {answering.reveal_deadline}", answering.reveal_deadline


def _waits(group: Group, phase: Phase) -> tuple[str, int]:
    """Say for whom a group waits that cannot be settled, and until when."""
    number = 1 if phase in _ANSWERING[0] else 2
    answering = group.rounds[number - 1]
    waiting = ", ".join(node for node in group.asked(number) if node not in answering.openings)
    committing = phase in (Phase.COMMIT_1, Phase.COMMIT_2)
    until = answering.commit_deadline if committing else answering.reveal_deadline
    return f"waits for {waiting} until {until}", until
