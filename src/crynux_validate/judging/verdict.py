"""What is said of a group and of its members, and the Protocol that says it (protocol, "Judging")."""

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
    """Return `value` if a group can have so many members; True is no number."""
    if type(value) is not int or value not in GROUP_SIZES:
        raise InvalidInputError(f"{what} is {shorten(value)}; expected one of {GROUP_SIZES}")
    return value


class Outcome(StrEnum):
    """What became of a group."""

    VALIDATED = "VALIDATED"
    TASK_FAULT = "TASK_FAULT"
    NO_QUORUM = "NO_QUORUM"


class Finding(StrEnum):
    """What became of a member."""

    VALID = "VALID"
    """It agrees with a centre: paid."""
    INVALID = "INVALID"
    """It answered wrongly, or reported a task as invalid that others ran: slashed."""
    BORDERLINE = "BORDERLINE"
    """Too far to be paid, too near to be slashed."""
    UNDECIDED = "UNDECIDED"
    """A score or a malformed answer where there is no centre."""
    ERROR = "ERROR"
    """A report that is not slashed."""
    ABSENT = "ABSENT"
    """It never committed."""
    WITHHELD = "WITHHELD"
    """It committed and did not reveal: slashed, under every outcome."""


@dataclass(frozen=True)
class Malformed:
    """A member revealed an answer that does not fit the task (C4)."""

    reason: str = ""

    def __repr__(self) -> str:
        return summary(self, self.reason or "without a reason")

    def __str__(self) -> str:
        return f"malformed: {self.reason}" if self.reason else "malformed"


@dataclass(frozen=True)
class Absent:
    """A member never committed (C3)."""

    def __str__(self) -> str:
        return "absent"


@dataclass(frozen=True)
class Withheld:
    """A member committed and did not reveal by the deadline (C3)."""

    def __str__(self) -> str:
        return "withheld"


@dataclass(frozen=True)
class TwoAnswers:
    """A member gave a score, and then a keyed score with the seed of the second round (C5).

    Parameters
    ----------
    first, second
        What it revealed in either round.

    Raises
    ------
    InvalidInputError
        For what is no score, or no keyed score.
    """

    first: Score
    second: KeyedScore

    def __post_init__(self) -> None:
        check_type(self.first, (ImageScore, TextScore), "the first answer", "an ImageScore or a TextScore")
        check_type(self.second, KeyedScore, "the second answer", "a KeyedScore")

    def __str__(self) -> str:
        return f"{self.first}, then {self.second}"


Member = Answer | TwoAnswers | Malformed | Absent | Withheld
"""What a member of a group did."""


def check_members(members: object) -> None:
    """Refuse what is no group: node ids with what each of them did.

    Raises
    ------
    InvalidInputError
        Names the member, or the size.
    """
    check_type(members, Mapping, "members", "node ids with their answers, like {'node-1': score}")
    found: Mapping[object, object] = members  # type: ignore[assignment]  # checked
    if len(found) not in GROUP_SIZES:
        raise InvalidInputError(f"a group has {', '.join(map(str, GROUP_SIZES))} members, not {len(found)}")
    for node, member in found.items():
        check_id(node, "a node id")
        if not isinstance(member, Member):
            raise InvalidInputError(
                f"the answer of {node} is {shorten(member)}; expected a score (ImageScore, TextScore), an error report "
                "(ErrorReport), or one of TwoAnswers(), Malformed(), Absent() and Withheld()"
            )


class Rule(Protocol):
    """How a group is judged. Pass one to `judge`; implement one to judge otherwise."""

    def judge(self, members: Mapping[str, Member]) -> "Verdict":
        """Return the verdict on members, which `judge` has checked."""


@dataclass(frozen=True)
class Verdict(Shown):
    """What `judge` says of a group.

    Parameters
    ----------
    outcome
        What became of the group.
    findings
        What became of each member.
    delivered_score
        The score that stands for the result, with ``VALIDATED`` only (J6); the result digest is a member's, not its.
    distances
        The similarity score of each member's score to the delivered one; members without a score, or with one that
        cannot be compared, are left out.
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
        import json  # not at the top: judging alone does not need it

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
    """Return the finding of a member of which no quorum says anything (J4, J5)."""
    match member:
        case ErrorReport():
            return Finding.ERROR
        case Absent():
            return Finding.ABSENT
        case Withheld():
            return Finding.WITHHELD
        case _:
            return Finding.UNDECIDED
