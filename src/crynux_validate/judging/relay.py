"""The rule of the live Crynux network, for comparison (protocol, "The live network, for comparison").

Under this rule the execution times decide who is slashed.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from crynux_validate.answers import ErrorReport, ImageScore, Score, TextScore, check_threshold, similarity_score
from crynux_validate.encoding import check_id, shorten, summary
from crynux_validate.errors import InvalidInputError
from crynux_validate.frozen import FrozenMapping
from crynux_validate.judging.verdict import Finding, Member, Outcome, TwoAnswers, Verdict, check_members

RELAY_THRESHOLD: Final = 24
"""The live network's threshold, which was raised after an honest node was slashed at 5."""

RELAY_GROUP_SIZE: Final = 3


@dataclass(frozen=True)
class CrynuxRelayRule:
    """The rule of the live network, for groups of three.

    The members are sorted by execution time, then by id. The first score that agrees with another one is validated.
    Scores that agree with the validated one are paid as well, every other score is slashed, and so is an error report
    if two scores agree. A single score is slashed if the other two are error reports. Everything else is aborted.

    A member that is paid is ``VALID``, and one that is slashed is ``INVALID``. If a member's task is aborted, a score
    is ``UNDECIDED``, a report is ``ERROR`` (its code does not matter), and a member that timed out is ``ABSENT``.
    Malformed and withheld answers count as timed out, which costs nothing on the live network. The outcome is
    ``VALIDATED`` if a score is validated, which is then delivered; ``TASK_FAULT`` if all three finished and at least
    two reported an error; otherwise ``NO_QUORUM``.

    Parameters
    ----------
    threshold
        Two image scores agree if the distance of every image is strictly less; 1 to 64.
    seconds
        The execution time of every member that finished, in seconds, 0 or more. Times of other nodes are ignored.

    Raises
    ------
    InvalidInputError
        For a threshold outside 1..64, an invalid node id, and a time that is not a finite number of at least 0; in
        `judge`, for a group that does not have three members, a score or report without a time, second answers, and
        scores of two kinds or algorithms.
    """

    threshold: int = RELAY_THRESHOLD
    seconds: Mapping[str, float] = field(kw_only=True, hash=False)

    def __post_init__(self) -> None:
        check_threshold(self.threshold, "threshold")
        if not isinstance(self.seconds, Mapping):
            raise InvalidInputError(
                f"seconds is a {type(self.seconds).__name__}; expected a mapping of node ids to execution times"
            )
        for node, value in self.seconds.items():
            check_id(node, "a node id in seconds")
            _check_seconds(node, value)
        object.__setattr__(self, "seconds", FrozenMapping(self.seconds))

    def __repr__(self) -> str:
        return summary(self, f"threshold {self.threshold}", f"execution times of {len(self.seconds)} nodes")

    def judge(self, members: Mapping[str, Member]) -> Verdict:
        """Return the verdict on the members of a group of three, as `judge` takes them."""
        check_members(members)
        if len(members) != RELAY_GROUP_SIZE:
            raise InvalidInputError(
                f"the group has {len(members)} members; the live network's rule needs {RELAY_GROUP_SIZE}: use the rule"
                " centre (CentreRule)"
            )
        if any(isinstance(member, TwoAnswers) for member in members.values()):
            raise InvalidInputError("the live network's rule has no second round; give the first answers alone")
        order = self._finished_in_order(members)
        scores = {node: member for node in order if isinstance(member := members[node], ImageScore | TextScore)}
        _check_one_kind(scores)
        findings = {node: _aborted(member) for node, member in members.items()}
        validated = next((node for node in scores if len(self._agreeing(node, scores)) > 1), None)
        if validated is None:
            reports = len(order) - len(scores)
            if reports == 2 and scores:
                findings |= dict.fromkeys(scores, Finding.INVALID)
            fault = reports >= 2 and len(order) == RELAY_GROUP_SIZE
            return Verdict(Outcome.TASK_FAULT if fault else Outcome.NO_QUORUM, findings, None, {})
        paid = self._agreeing(validated, scores)
        findings |= {node: Finding.VALID if node in paid else Finding.INVALID for node in order}
        apart = {node: similarity_score(scores[validated], score) for node, score in scores.items()}
        distances = {node: distance for node, distance in apart.items() if distance is not None}
        return Verdict(Outcome.VALIDATED, findings, replace(scores[validated], result_digest=None), distances)

    def _finished_in_order(self, members: Mapping[str, Member]) -> list[str]:
        finished = [node for node, member in members.items() if isinstance(member, Score | ErrorReport)]
        for node in finished:
            if node not in self.seconds:
                raise InvalidInputError(f"seconds has no execution time of {node}; the live network's rule needs one")
        return sorted(finished, key=lambda node: (self.seconds[node], node))

    def _agreeing(self, node: str, scores: Mapping[str, Score]) -> set[str]:
        """The nodes whose scores agree with that of `node`, itself included."""
        apart = {other: similarity_score(scores[node], score) for other, score in scores.items()}
        return {other for other, distance in apart.items() if distance is not None and distance < self.threshold}


def _check_seconds(node: str, value: object) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    # Not of a very large integer: it has no float64.
    if not number or not (isinstance(value, int) or math.isfinite(value)) or value < 0:  # type: ignore[operator,arg-type]
        raise InvalidInputError(
            f"the execution time of {node} is {shorten(value)}; expected a finite number of seconds, at least 0"
        )


def _check_one_kind(scores: Mapping[str, Score]) -> None:
    first = next(iter(scores.items()), None)
    for node, score in scores.items():
        if first is not None and score.algorithm != first[1].algorithm:
            raise InvalidInputError(
                f"the score of {first[0]} is {first[1].algorithm} and that of {node} is {score.algorithm}; expected one"
                " algorithm: an answer that does not fit the task is Malformed()"
            )


def _aborted(member: Member) -> Finding:
    match member:
        case ImageScore() | TextScore():
            return Finding.UNDECIDED
        case ErrorReport():
            return Finding.ERROR
        case _:
            return Finding.ABSENT
