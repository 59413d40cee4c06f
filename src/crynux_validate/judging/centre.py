"""The rule of this library (protocol J1-J7)."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from crynux_validate.algorithms import HASH_BITS
from crynux_validate.answers import ErrorReport, ImageScore, Score, TextScore, check_threshold, similarity_score
from crynux_validate.encoding import check_flag
from crynux_validate.errors import InvalidInputError
from crynux_validate.judging.verdict import (
    Finding,
    Malformed,
    Member,
    Outcome,
    TwoAnswers,
    Verdict,
    check_members,
    unjudged,
)
from crynux_validate.keyed import KeyedScore, check_limits, keyed_agree, keyed_far

DEFAULT_THRESHOLD: Final = 16
"""One pair of parts of unrelated photographs in 15,000 agrees; honest numeric noise was 0 to 2 (protocol J2).

With 58 photographs a chance of up to 1 in 420 cannot be ruled out (`false_accept_rate`).
"""

DEFAULT_SLASH_THRESHOLD: Final = 24
"""98% of pairs of parts of unrelated photographs are at least so far apart (protocol J2)."""

Distances = Mapping[str, Mapping[str, int | None]]
"""For each pair of nodes the similarity score of their scores; None if these cannot be compared."""


@dataclass(frozen=True)
class CentreRule:
    """The rule of this library (protocol J1-J7).

    A score is a centre if a quorum of the members agrees with it. Scores that agree with a centre are valid.

    Parameters
    ----------
    threshold
        Two image scores agree if the distance of every image is strictly less; 1 to 64.
    slash_threshold
        A score is slashed only if it is at least so far from the delivered score; from `threshold` to 64. The default
        is the larger of 24 and `threshold`.
    safety_checker
        Whether the task has a safety checker, which can blank the picture of one honest machine and not that of
        another. If True, an image counts for a slash only if neither hash is degenerate. If False, the delivered hash
        alone must not be degenerate. A ledger sets it from the task. If the task is unknown, True slashes no honest
        node for a blank picture, but also no cheat that submits one.
    keyed_limits
        The limits of the bands if members gave second answers of ``keyed/1``: `KeyedTolerance.for_task` (J7).

    Raises
    ------
    InvalidInputError
        For a threshold outside 1..64, a slash threshold below it, a `safety_checker` that is not a bool, and invalid
        limits; in `judge`, if only some of the scores have a second answer, and for ``keyed/1`` without limits.
    """

    threshold: int = DEFAULT_THRESHOLD
    slash_threshold: int | None = None
    safety_checker: bool = field(default=True, kw_only=True)
    keyed_limits: tuple[int, ...] | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        for name in ("threshold", "slash_threshold"):
            value = getattr(self, name)
            if value is None and name == "slash_threshold":
                object.__setattr__(self, name, max(DEFAULT_SLASH_THRESHOLD, self.threshold))
            else:
                check_threshold(value, name)
        check_flag(self.safety_checker, "safety_checker")
        if self.keyed_limits is not None:
            check_limits(self.keyed_limits)
        if self.slashes_from < self.threshold:
            raise InvalidInputError(
                f"slash_threshold is {self.slash_threshold}; expected at least the threshold, {self.threshold}: scores "
                "that agree cannot be slashed"
            )

    @property
    def slashes_from(self) -> int:
        """The slash threshold, or its default."""
        return self.threshold if self.slash_threshold is None else self.slash_threshold

    def judge(self, members: Mapping[str, Member]) -> Verdict:
        """Return the verdict on the members of a group, which are given as for `judge`."""
        check_members(members)
        quorum = len(members) // 2 + 1
        scores, seconds = _scores(members)
        if len(scores) >= quorum:
            apart = _apart(scores)
            neighbours = {
                node: {
                    other
                    for other, distance in row.items()
                    if distance is not None and distance < self.threshold and self._agree_again(seconds, node, other)
                }
                for node, row in apart.items()
            }
            centres = [node for node, around in neighbours.items() if len(around) >= quorum]
            if centres:
                return self._validated(members, scores, seconds, apart, neighbours, centres)
        return self._without_centre(members, quorum)

    def _agree_again(self, seconds: Mapping[str, KeyedScore], node: str, other: str) -> bool:
        """Whether the second answers of two members agree; True if there was no second round (J7)."""
        return not seconds or keyed_agree(seconds[node], seconds[other], self.keyed_limits)

    def _validated(
        self,
        members: Mapping[str, Member],
        scores: Mapping[str, Score],
        seconds: Mapping[str, KeyedScore],
        apart: Distances,
        neighbours: Mapping[str, set[str]],
        centres: list[str],
    ) -> Verdict:
        def delivery_order(node: str) -> tuple[int, int, bytes, bytes]:
            """J6: most agreements, then the smallest sum of similarity scores, then the smallest bytes."""
            total = sum(HASH_BITS if distance is None else distance for distance in apart[node].values())
            own, again = scores[node], seconds[node].score if seconds else b""
            return -len(neighbours[node]), total, own.hashes if isinstance(own, ImageScore) else own.score, again

        chosen = min(centres, key=delivery_order)
        delivered = scores[chosen]
        valid = set().union(*(neighbours[node] for node in centres))
        linked = _reach(valid, neighbours)
        findings: dict[str, Finding] = {}
        for node, member in members.items():
            if node in scores:
                far = self._is_far(scores[node], delivered) or self._is_far_again(scores, seconds, node, chosen)
                if node in valid:
                    findings[node] = Finding.VALID
                elif node not in linked and far:
                    findings[node] = Finding.INVALID
                else:
                    findings[node] = Finding.BORDERLINE
            elif isinstance(member, Malformed) or (isinstance(member, ErrorReport) and member.invalid_task):
                findings[node] = Finding.INVALID  # J2, J3: anyone can check that the report is false
            else:
                findings[node] = unjudged(member)
        distances = {node: distance for node, distance in apart[chosen].items() if distance is not None}
        # Equal scores can have different result digests. With one of them the order of the members would matter.
        return Verdict(Outcome.VALIDATED, findings, replace(delivered, result_digest=None), distances)

    def _is_far(self, score: Score, delivered: Score) -> bool:
        """J2 (b): whether a score is far enough to be slashed, in an image without a degenerate hash."""
        if (
            not isinstance(score, ImageScore)
            or not isinstance(delivered, ImageScore)
            or score.algorithm != delivered.algorithm
            or len(score.blocks) != len(delivered.blocks)
        ):
            return True  # unequal text, or a score that cannot be compared with the delivered one
        plain = {*delivered.degenerate, *(score.degenerate if self.safety_checker else ())}
        pairs = enumerate(zip(score.blocks, delivered.blocks, strict=True))
        return any((own ^ other).bit_count() >= self.slashes_from for at, (own, other) in pairs if at not in plain)

    def _is_far_again(
        self, scores: Mapping[str, Score], seconds: Mapping[str, KeyedScore], node: str, chosen: str
    ) -> bool:
        """J7: whether a second answer is far enough to be slashed. Keyed values tell plain pictures apart, but not from
        a picture that a safety checker blanked."""
        if not seconds:
            return False
        both = (scores[node], scores[chosen]) if self.safety_checker else ()
        plain = {at for score in both if isinstance(score, ImageScore) for at in score.degenerate}
        return keyed_far(seconds[node], seconds[chosen], self.keyed_limits, plain)

    @staticmethod
    def _without_centre(members: Mapping[str, Member], quorum: int) -> Verdict:
        codes = [m.code for m in members.values() if isinstance(m, ErrorReport) and m.invalid_task]
        fault = any(codes.count(code) >= quorum for code in codes)
        findings = {node: unjudged(member) for node, member in members.items()}
        return Verdict(Outcome.TASK_FAULT if fault else Outcome.NO_QUORUM, findings, None, {})


def _scores(members: Mapping[str, Member]) -> tuple[dict[str, Score], dict[str, KeyedScore]]:
    """The scores of the members, and their second answers if there was a second round."""
    both = {node: member for node, member in members.items() if isinstance(member, TwoAnswers)}
    if not both:
        return {node: one for node, one in members.items() if isinstance(one, ImageScore | TextScore)}, {}
    for node, member in members.items():
        if isinstance(member, ImageScore | TextScore):
            raise InvalidInputError(
                f"{node} has one answer and {next(iter(both))} has two; expected the same number from all"
            )
    return {node: one.first for node, one in both.items()}, {node: one.second for node, one in both.items()}


def _apart(scores: Mapping[str, Score]) -> Distances:
    """The similarity score of every pair, also of each score with itself."""
    rows: dict[str, dict[str, int | None]] = {node: {} for node in scores}
    nodes = list(scores.items())
    for at, (a, own) in enumerate(nodes):
        rows[a][a] = 0
        for b, other in nodes[at + 1 :]:
            rows[a][b] = rows[b][a] = similarity_score(own, other)
    return rows


def _reach(start: set[str], neighbours: Mapping[str, set[str]]) -> set[str]:
    """All nodes that a chain of agreements connects to `start`."""
    reached = set(start)
    frontier = list(start)
    while frontier:
        for node in neighbours[frontier.pop()] - reached:
            reached.add(node)
            frontier.append(node)
    return reached
