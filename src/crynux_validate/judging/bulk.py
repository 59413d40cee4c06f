"""Judging many groups at once with arrays, with the verdicts of `CentreRule` (protocol J1-J6).

For simulations, the choice of a threshold, and checks of a whole history. For one group `judge` is faster.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from crynux_validate.algorithms import DEGENERATE_OUTSIDE
from crynux_validate.answers import ErrorReport
from crynux_validate.encoding import check_type, shorten, summary
from crynux_validate.errors import InvalidInputError
from crynux_validate.judging.centre import CentreRule
from crynux_validate.judging.verdict import GROUP_SIZES, Absent, Finding, Malformed, Member, Outcome, Withheld
from crynux_validate.shown import Shown
from crynux_validate.tasks import MAX_IMAGES

OUTCOMES: Final = tuple(Outcome)
"""The meaning of the numbers in `Verdicts.outcomes`."""

FINDINGS: Final = tuple(Finding)
"""The meaning of the numbers in `Verdicts.findings`."""

_AT_ONCE: Final = 4096
"""The number of groups that are judged together, so that their arrays fit a processor's cache."""

_OUTCOME: Final = {outcome: np.uint8(at) for at, outcome in enumerate(OUTCOMES)}
_FINDING: Final = {finding: np.uint8(at) for at, finding in enumerate(FINDINGS)}

Bools: TypeAlias = npt.NDArray[np.bool_]
Bytes: TypeAlias = npt.NDArray[np.uint8]
Hashes: TypeAlias = npt.NDArray[np.uint64]


class MemberKind(IntEnum):
    """What a member of a group did, as a number for arrays."""

    SCORE = 0
    MALFORMED = 1
    SCHEMA = 2
    """An error report with the code ``schema``; the next two have the codes ``limits`` and ``unsupported``."""
    LIMITS = 3
    UNSUPPORTED = 4
    FAILED = 5
    """An error report with the code ``failed``: the machine could not run the task."""
    ABSENT = 6
    WITHHELD = 7

    @classmethod
    def of(cls, member: Member) -> "MemberKind":
        """Return the kind of a member, which is given as for `judge`."""
        match member:
            case ErrorReport():
                return cls[member.code.upper()]
            case Malformed():
                return cls.MALFORMED
            case Absent():
                return cls.ABSENT
            case Withheld():
                return cls.WITHHELD
            case _:
                return cls.SCORE


_REPORTS: Final = (MemberKind.SCHEMA, MemberKind.LIMITS, MemberKind.UNSUPPORTED)


def _table(findings: dict[MemberKind, Finding]) -> Bytes:
    return np.array([_FINDING[findings[kind]] for kind in MemberKind], np.uint8)


_WITHOUT_CENTRE: Final = _table(
    {
        MemberKind.SCORE: Finding.UNDECIDED,
        MemberKind.MALFORMED: Finding.UNDECIDED,
        MemberKind.SCHEMA: Finding.ERROR,
        MemberKind.LIMITS: Finding.ERROR,
        MemberKind.UNSUPPORTED: Finding.ERROR,
        MemberKind.FAILED: Finding.ERROR,
        MemberKind.ABSENT: Finding.ABSENT,
        MemberKind.WITHHELD: Finding.WITHHELD,
    }
)
_WITH_CENTRE: Final = _table(
    {
        MemberKind.SCORE: Finding.BORDERLINE,
        MemberKind.MALFORMED: Finding.INVALID,
        MemberKind.SCHEMA: Finding.INVALID,
        MemberKind.LIMITS: Finding.INVALID,
        MemberKind.UNSUPPORTED: Finding.INVALID,
        MemberKind.FAILED: Finding.ERROR,
        MemberKind.ABSENT: Finding.ABSENT,
        MemberKind.WITHHELD: Finding.WITHHELD,
    }
)
"""The finding of each kind of member; of a score only if it is neither valid nor invalid."""


@dataclass(frozen=True, eq=False)
class Verdicts(Shown):
    """The verdicts of `judge_many`.

    Parameters
    ----------
    outcomes
        uint8 of shape (groups,): indices into `OUTCOMES`.
    findings
        uint8 of shape (groups, members): indices into `FINDINGS`.
    delivered
        int8 of shape (groups,): the index of the member whose score is delivered (protocol J6), the first one of equal
        scores; -1 if the outcome is not ``VALIDATED``.
    """

    outcomes: Bytes
    findings: Bytes
    delivered: npt.NDArray[np.int8]

    def __len__(self) -> int:
        return len(self.outcomes)

    def ended(self, outcome: Outcome) -> Bools:
        """Return which groups have this outcome: bool of shape (groups,)."""
        check_type(outcome, Outcome, "the outcome", "an outcome, like Outcome.VALIDATED")
        ended: Bools = self.outcomes == _OUTCOME[outcome]
        return ended

    def found(self, finding: Finding) -> Bools:
        """Return which members have this finding: bool of shape (groups, members)."""
        check_type(finding, Finding, "the finding", "a finding, like Finding.INVALID")
        found: Bools = self.findings == _FINDING[finding]
        return found

    def count(self) -> dict[str, int]:
        """Return how often each outcome and each finding occurs, by name."""
        outcomes = {outcome.value: int(self.ended(outcome).sum()) for outcome in OUTCOMES}
        return outcomes | {finding.value: int(self.found(finding).sum()) for finding in FINDINGS}

    def __repr__(self) -> str:
        return summary(self, f"of {self}")

    def __str__(self) -> str:
        counts = ", ".join(f"{name} {count}" for name, count in self.count().items() if count)
        return f"{len(self)} groups: {counts}" if counts else "0 groups"


def judge_many(
    hashes: Hashes, kinds: npt.NDArray[np.integer] | None = None, rule: CentreRule | None = None
) -> Verdicts:
    """Judge many groups of image scores at once, with the same verdicts as `judge`.

    Parameters
    ----------
    hashes
        uint64 of shape (groups, members, images): each member's perceptual hashes, the most significant bit first
        (`ImageScore.blocks`), all of one algorithm; 3, 5, 7 or 9 members, 1 to 16 images. The numbers of a member
        without a score are ignored.
    kinds
        Integers of shape (groups, members): the `MemberKind` of each member. If left out, every member has a score. A
        score of another length or algorithm than its task's is ``MALFORMED`` (protocol A3, C4).
    rule
        `CentreRule()` if left out.

    Returns
    -------
    Verdicts
        In the order of the groups and members given.

    Raises
    ------
    InvalidInputError
        For arrays of other types or shapes, an unknown `MemberKind`, and another rule than `CentreRule`.
    """
    rule = CentreRule() if rule is None else rule
    if not isinstance(rule, CentreRule):
        raise InvalidInputError(f"rule is {shorten(rule)}; expected a CentreRule, like CentreRule(threshold=16)")
    _check_hashes(hashes)
    kinds = _checked_kinds(kinds, hashes.shape[:2])
    count, members = kinds.shape
    outcomes = np.empty(count, np.uint8)
    findings = np.empty((count, members), np.uint8)
    delivered = np.empty(count, np.int8)
    for start in range(0, count, _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        outcomes[part], findings[part], delivered[part] = _judge_part(hashes[part], kinds[part], rule)
    return Verdicts(outcomes, findings, delivered)


def judge_thresholds(
    hashes: Hashes, thresholds: Sequence[int], *, safety_checker: bool = True
) -> Iterator[tuple[int, Bools, Bytes]]:
    """Judge groups in which every member has a score, under many thresholds and all slash thresholds.

    Parameters
    ----------
    hashes
        As for `judge_many`.
    thresholds
        Integers from 1 to 64.
    safety_checker
        As for `CentreRule`.

    Yields
    ------
    tuple
        The threshold; which members are ``VALID``, bool of shape (groups, members); and the largest slash threshold
        with which each member is ``INVALID``, uint8 of the same shape, 0 if there is none. A slash threshold is never
        below the threshold.

    Raises
    ------
    InvalidInputError
        As for `judge_many` and `CentreRule`.
    """
    _check_hashes(hashes)
    apart = _apart(hashes)
    for threshold in thresholds:
        rule = CentreRule(threshold, safety_checker=safety_checker)
        valid = np.ones(hashes.shape[:2], np.bool_)
        slashed_to = np.zeros(hashes.shape[:2], np.uint8)
        disagreeing = np.flatnonzero(
            (apart >= threshold).any(axis=(1, 2))
        )  # in all others every score agrees with every one
        for start in range(0, len(disagreeing), _AT_ONCE):
            part = disagreeing[start : start + _AT_ONCE]
            found = _decide(hashes[part], apart[part], np.ones((len(part), hashes.shape[1]), np.bool_), rule)
            valid[part], slashed_to[part] = found.valid, found.slashed_to
        yield threshold, valid, slashed_to


@dataclass(frozen=True, eq=False)
class _Decided:
    """What is decided of a part of the groups before any slash threshold is looked at."""

    validated: Bools
    chosen: npt.NDArray[np.intp]
    valid: Bools
    slashed_to: Bytes


def _judge_part(hashes: Hashes, kinds: Bytes, rule: CentreRule) -> tuple[Bytes, Bytes, npt.NDArray[np.int8]]:
    quorum = kinds.shape[1] // 2 + 1
    found = _decide(hashes, _apart(hashes), kinds == MemberKind.SCORE, rule)
    findings = np.where(found.validated[:, None], _WITH_CENTRE[kinds], _WITHOUT_CENTRE[kinds])
    findings[found.valid] = _FINDING[Finding.VALID]
    findings[found.slashed_to >= rule.slashes_from] = _FINDING[Finding.INVALID]
    fault = np.logical_or.reduce([(kinds == report).sum(axis=1) >= quorum for report in _REPORTS])
    outcomes = np.where(fault, _OUTCOME[Outcome.TASK_FAULT], _OUTCOME[Outcome.NO_QUORUM])
    outcomes[found.validated] = _OUTCOME[Outcome.VALIDATED]
    return outcomes, findings, np.where(found.validated, found.chosen, -1).astype(np.int8)


def _decide(hashes: Hashes, apart: Bytes, scored: Bools, rule: CentreRule) -> _Decided:
    members = scored.shape[1]
    linked = (apart < rule.threshold) & scored[:, :, None] & scored[:, None, :]
    agreements = linked.sum(axis=2)
    centres = agreements >= members // 2 + 1
    validated = centres.any(axis=1)
    chosen = _chosen(hashes, apart, scored, agreements, centres)
    valid: Bools = (linked & centres[:, :, None]).any(axis=1)
    reached = valid
    for _ in range(members - 2):  # the longest chain from a valid score
        reached = reached | (linked & reached[:, :, None]).any(axis=1)
    slashed_to = _telling_distance(hashes, chosen, rule)
    slashed_to[~(validated[:, None] & scored & ~reached)] = 0
    return _Decided(validated, chosen, valid, slashed_to)


def _apart(hashes: Hashes) -> Bytes:
    """The similarity score of every pair (A3): uint8 of shape (groups, members, members)."""
    count, members, _ = hashes.shape
    apart = np.zeros((count, members, members), np.uint8)
    for a in range(members):
        for b in range(a + 1, members):
            apart[:, a, b] = apart[:, b, a] = np.bitwise_count(hashes[:, a] ^ hashes[:, b]).max(axis=1)
    return apart


def _chosen(
    hashes: Hashes, apart: Bytes, scored: Bools, agreements: npt.NDArray[np.integer], centres: Bools
) -> npt.NDArray[np.intp]:
    """J6: most agreements, then the smallest sum of similarity scores, then the smallest bytes, then the first."""
    total = (apart * scored[:, None, :]).sum(axis=2, dtype=np.int64)
    rank = np.where(centres, agreements * 1024 - total, np.iinfo(np.int64).min)  # 1024 > 9 members * 64 bits
    left = rank == rank.max(axis=1, keepdims=True)
    for image in range(hashes.shape[2]):
        block = np.where(left, hashes[:, :, image], np.iinfo(np.uint64).max)
        left &= block == block.min(axis=1, keepdims=True)
    chosen: npt.NDArray[np.intp] = left.argmax(axis=1)
    return chosen


def _telling_distance(hashes: Hashes, chosen: npt.NDArray[np.intp], rule: CentreRule) -> Bytes:
    """J2 (b): how far from the delivered score in a block where no picture is too plain to tell; 0 without one."""
    delivered = hashes[np.arange(len(hashes)), chosen]
    distances = np.bitwise_count(hashes ^ delivered[:, None, :])
    distances *= is_telling(delivered)[:, None, :]
    if rule.safety_checker:
        distances *= is_telling(hashes)
    far: Bytes = distances.max(axis=2)
    return far


def is_telling(hashes: Hashes) -> Bools:
    """Which hashes are not degenerate (A2)."""
    fewest, most = DEGENERATE_OUTSIDE
    weight = np.bitwise_count(hashes)
    telling: Bools = (weight >= fewest) & (weight <= most)
    return telling


def _check_hashes(hashes: object) -> None:
    if not isinstance(hashes, np.ndarray) or hashes.dtype != np.uint64:
        found = f"an array of {hashes.dtype}" if isinstance(hashes, np.ndarray) else f"a {type(hashes).__name__}"
        raise InvalidInputError(f"hashes is {found}; expected a numpy array of uint64")
    if hashes.ndim != 3 or hashes.shape[1] not in GROUP_SIZES or not 1 <= hashes.shape[2] <= MAX_IMAGES:
        sizes = ", ".join(map(str, GROUP_SIZES))
        raise InvalidInputError(
            f"hashes has the shape {hashes.shape}; expected (groups, members, images) with {sizes} members and 1 to"
            f" {MAX_IMAGES} images"
        )


def _checked_kinds(kinds: object, shape: tuple[int, ...]) -> Bytes:
    if kinds is None:
        return np.zeros(shape, np.uint8)
    if not isinstance(kinds, np.ndarray) or not np.issubdtype(kinds.dtype, np.integer) or kinds.shape != shape:
        found = f"an array of {kinds.dtype} {kinds.shape}" if isinstance(kinds, np.ndarray) else type(kinds).__name__
        raise InvalidInputError(f"kinds is {found}; expected integers of the shape {shape}, one for each member")
    known = (kinds >= 0) & (kinds < len(MemberKind))
    if not known.all():
        group, member = (int(at) for at in np.argwhere(~known)[0])
        raise InvalidInputError(
            f"kinds[{group}, {member}] is {kinds[group, member]}; expected a MemberKind, 0 to {len(MemberKind) - 1}"
        )
    return kinds.astype(np.uint8)
