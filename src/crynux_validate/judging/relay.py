"""The live Crynux network's rule, for those who migrate (protocol, "The live network, for comparison").

It is here to be compared with: under it, who is slashed depends on who was faster.
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
"""What the live network has used since an honest node was slashed at 5."""

RELAY_GROUP_SIZE: Final = 3


@dataclass(frozen=True)
class CrynuxRelayRule:
    """The live network's verdict on a group of three.

    Members are ordered by execution time, then by id. The first score that agrees with another one is validated, those
    that agree with *it* are paid as well, every other score is slashed, and so is an error report beside two scores
    that agree. A lone score beside two error reports is slashed. Everything else is aborted.

    What is paid (validated, or refunded as a duplicate) is ``VALID``, what is slashed ``INVALID``. What is aborted is
    ``UNDECIDED`` for a score, ``ERROR`` for a report (the network knows one kind, so that every code counts alike), and
    ``ABSENT`` for who timed out; malformed and withheld answers count as timed out, which costs nothing there. The
    outcome is ``VALIDATED`` with a validated score, ``TASK_FAULT`` where all three finished and at least two reported
    an error, ``NO_QUORUM`` otherwise. The delivered score is the validated one's.

    Parameters
    ----------
    threshold
        Two images agree where every distance is strictly less; 1 to 64.
    seconds
        The execution time of every member that finished, not negative; other nodes' times do not matter.

    Raises
    ------
    InvalidInputError
        For a threshold outside 1..64, a node id that is no id, and a time that is no finite number of at
        least 0; when it judges, for a group of another size than three, a score or report without a time, and scores
        of two kinds or algorithms.
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
                f"the live network's rule judges groups of {RELAY_GROUP_SIZE}, not of {len(members)}; for others take"
                " this library's rule, centre (CentreRule)"
            )
        if any(isinstance(member, TwoAnswers) for member in members.values()):
            raise InvalidInputError("the live network has one answering round; give its rule the first answers alone")
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
                raise InvalidInputError(
                    f"seconds has no execution time of {node}; the live network's rule orders members by it"
                )
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
                f"the score of {first[0]} is {first[1].algorithm} and that of {node} is {score.algorithm}; a group has"
                " one task, and an answer that does not fit it is malformed"
            )


def _aborted(member: Member) -> Finding:
    match member:
        case ImageScore() | TextScore():
            return Finding.UNDECIDED
        case ErrorReport():
            return Finding.ERROR
        case _:
            return Finding.ABSENT
