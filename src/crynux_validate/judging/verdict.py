"""Verdicts on groups and members, and the Protocol of a rule (protocol, "Judging")."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Protocol

from crynux_validate.answers import Answer, ErrorReport, ImageScore, Score, TextScore
from crynux_validate.encoding import check_id, check_type, shorten, summary
from crynux_validate.errors import InvalidInputError
from crynux_validate.keyed import KeyedScore
from crynux_validate.shown import Shown

GROUP_SIZES: Final = (3, 5, 7, 9)


def check_group_size(value: object, what: str = "group_size") -> int:
    """Return `value` if a group can have so many members."""
    if type(value) is not int or value not in GROUP_SIZES:
        raise InvalidInputError(f"{what} is {shorten(value)}; expected one of {GROUP_SIZES}")
    return value


class Outcome(StrEnum):
    """The outcome of a group."""

    VALIDATED = "VALIDATED"
    TASK_FAULT = "TASK_FAULT"
    NO_QUORUM = "NO_QUORUM"


class Finding(StrEnum):
    """The finding about a member of a group."""

    VALID = "VALID"
    """The score agrees with a centre: the member is paid."""
    INVALID = "INVALID"
    """The answer is wrong, or reports a task as invalid that others ran: the member is slashed."""
    BORDERLINE = "BORDERLINE"
    """The score is too far from the centres to be paid, and too near to be slashed."""
    UNDECIDED = "UNDECIDED"
    """A score or a malformed answer in a group without a centre."""
    ERROR = "ERROR"
    """An error report that is not slashed."""
    ABSENT = "ABSENT"
    """The member did not commit."""
    WITHHELD = "WITHHELD"
    """The member committed and did not reveal: it is slashed, whatever the outcome."""


@dataclass(frozen=True)
class Malformed:
    """A member revealed an answer that does not fit the task (protocol C4)."""

    reason: str = ""

    def __repr__(self) -> str:
        return summary(self, self.reason or "without a reason")

    def __str__(self) -> str:
        return f"malformed: {self.reason}" if self.reason else "malformed"


@dataclass(frozen=True)
class Absent:
    """A member did not commit (protocol C3)."""

    def __str__(self) -> str:
        return "absent"


@dataclass(frozen=True)
class Withheld:
    """A member committed and did not reveal before the deadline (protocol C3)."""

    def __str__(self) -> str:
        return "withheld"


@dataclass(frozen=True)
class TwoAnswers:
    """A member's score, and its keyed score with the seed of the second round (protocol C5).

    Parameters
    ----------
    first, second
        The answers that the member revealed in the two rounds.

    Raises
    ------
    InvalidInputError
        For an answer of another type.
    """

    first: Score
    second: KeyedScore

    def __post_init__(self) -> None:
        check_type(self.first, (ImageScore, TextScore), "the first answer", "an ImageScore or a TextScore")
        check_type(self.second, KeyedScore, "the second answer", "a KeyedScore")

    def __str__(self) -> str:
        return f"{self.first}, then {self.second}"


Member = Answer | TwoAnswers | Malformed | Absent | Withheld
"""The answer of a member, or why there is none."""


def check_members(members: object) -> None:
    """Refuse anything but 3, 5, 7 or 9 node ids with an answer each.

    Raises
    ------
    InvalidInputError
        For another size, and an invalid node id or answer, which the message names.
    """
    check_type(members, Mapping, "members", "node ids with their answers, like {'node-1': score}")
    found: Mapping[object, object] = members  # type: ignore[assignment]  # checked
    if len(found) not in GROUP_SIZES:
        raise InvalidInputError(f"the group has {len(found)} members; expected {', '.join(map(str, GROUP_SIZES))}")
    for node, member in found.items():
        check_id(node, "a node id")
        if not isinstance(member, Member):
            raise InvalidInputError(
                f"the answer of {node} is {shorten(member)}; expected a score (ImageScore, TextScore), an error report "
                "(ErrorReport), or one of TwoAnswers(), Malformed(), Absent() and Withheld()"
            )


class Rule(Protocol):
    """A rule that judges groups, for `judge`. Implement this Protocol for a rule of your own."""

    def judge(self, members: Mapping[str, Member]) -> "Verdict":
        """Return the verdict on the members; `judge` has checked them with `check_members`."""


@dataclass(frozen=True)
class Verdict(Shown):
    """The verdict of `judge` on a group.

    Parameters
    ----------
    outcome
        The outcome of the group.
    findings
        The finding about each member, by node id.
    delivered_score
        The score of the result that is delivered, without a result digest (protocol J6); None unless the outcome is
        ``VALIDATED``.
    distances
        The similarity score of each member's score to the delivered score, by node id. Members without a score, or
        with one that cannot be compared, are left out.
    """

    outcome: Outcome
    findings: Mapping[str, Finding]
    delivered_score: Score | None
    distances: Mapping[str, int]

    def to_dict(self) -> dict[str, Any]:
        """Return outcome, delivered score, findings and distances for JSON."""
        return {
            "outcome": self.outcome.value,
            "delivered_score": None if self.delivered_score is None else self.delivered_score.hex,
            "findings": {node: finding.value for node, finding in self.findings.items()},
            "distances": dict(self.distances),
        }

    def to_json(self) -> str:
        """Return `to_dict` as JSON text."""
        import json  # not at the top: programs that only judge do not need it

        return json.dumps(self.to_dict())

    def __repr__(self) -> str:
        found = (f"{node} {finding}" for node, finding in self.findings.items())
        return summary(self, self.outcome, self.delivered_score, *found)

    def __str__(self) -> str:
        width = max(map(len, self.findings), default=0)
        lines = [f"{self.outcome}, delivered score {self.delivered_score or '-'}"]
        for node, finding in self.findings.items():
            distance = self.distances.get(node)
            apart = "" if distance is None else f"  distance {distance}"
            lines.append(f"  {node:<{width}}  {finding:<10}{apart}".rstrip())
        return "\n".join(lines)


def unjudged(member: Member) -> Finding:
    """Return the finding about a member if no quorum decides about it (J4, J5)."""
    match member:
        case ErrorReport():
            return Finding.ERROR
        case Absent():
            return Finding.ABSENT
        case Withheld():
            return Finding.WITHHELD
        case _:
            return Finding.UNDECIDED
