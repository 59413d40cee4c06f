"""A group: the nodes that answer one task, their answers, and the verdict (protocol P4, C2, C5)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from crynux_validate.answers import ImageScore, TextScore, check_answer
from crynux_validate.commitment import Opening
from crynux_validate.encoding import check_id, check_integer, check_type, shorten, summary
from crynux_validate.errors import InvalidAnswerError, InvalidInputError, NotAMemberError, TooEarlyError
from crynux_validate.frozen import FrozenMapping, replace
from crynux_validate.judging import Absent, Malformed, Member, Verdict, Withheld
from crynux_validate.keyed import KeyedScore, check_keyed, keyed_seed
from crynux_validate.ledger.policy import Policy
from crynux_validate.machines.classes import NodeClass
from crynux_validate.machines.pool import Pool
from crynux_validate.machines.roster import Draw
from crynux_validate.shown import Shown
from crynux_validate.tasks import Task


class Status(StrEnum):
    """The stage of a group."""

    OPEN = "OPEN"
    """The group waits for its beacon round and its draw."""
    DRAWN = "DRAWN"
    """The members commit and reveal."""
    SETTLED = "SETTLED"
    """The group is judged and paid."""
    CLOSED = "CLOSED"
    """The group could not be drawn; the fee was refunded."""

    @property
    def is_over(self) -> bool:
        """Whether nothing of the group changes any more."""
        return self in (Status.SETTLED, Status.CLOSED)


@dataclass(frozen=True)
class Transfer:
    """Money that moved at settlement: a fee, a refund, a slash.

    Parameters
    ----------
    source, target
        The source is the group, or for a slash the node. The target is the account that gets the money; None if the
        money is burnt.
    amount
        In the smallest unit.
    why
        ``fee``, ``report``, ``refund``, ``no_quorum`` or ``slash``.
    """

    source: str
    target: str | None
    amount: int
    why: str


@dataclass(frozen=True)
class Signature:
    """The signature of a commitment: the node's public key, 32 bytes, and 64 bytes of Ed25519 (protocol L8)."""

    public_key: bytes
    value: bytes = field(repr=False)

    def __repr__(self) -> str:
        return summary(self, f"of {self.public_key.hex()}")


@dataclass(frozen=True)
class Round:
    """One round of answers: the members commit, then reveal (protocol C2).

    Parameters
    ----------
    commit_deadline, reveal_deadline
        Times in seconds, fixed when the group was drawn.
    commitments, openings
        What each member has submitted, by node id.
    signatures
        The signatures of commitments, by node id, of nodes that joined with a key (protocol L8).
    """

    commit_deadline: int
    reveal_deadline: int
    commitments: Mapping[str, bytes] = field(default_factory=FrozenMapping)
    openings: Mapping[str, Opening] = field(default_factory=FrozenMapping)
    signatures: Mapping[str, Signature] = field(default_factory=FrozenMapping)

    def __repr__(self) -> str:
        until = f"commitments until {self.commit_deadline}", f"openings until {self.reveal_deadline}"
        return summary(self, *until, f"{len(self.commitments)} committed", f"{len(self.openings)} revealed")

    def reveals_open(self, asked: Sequence[str], now: int) -> bool:
        """Whether the members that were asked may reveal: all have committed, or the commit deadline has passed."""
        _check_asked(asked)
        return _reveals_open(self, asked, check_integer(now, "now"))

    def is_over(self, asked: Sequence[str], now: int) -> bool:
        """Whether the round is over: all that committed have revealed, or the reveal deadline has passed."""
        _check_asked(asked)
        return _is_over(self, asked, check_integer(now, "now"))


def _check_asked(asked: object) -> None:
    if isinstance(asked, str):
        raise InvalidInputError(f"asked is {shorten(asked)}; expected a list of node ids")
    check_type(asked, Sequence, "asked", "a list of node ids")
    for node in asked:  # type: ignore[attr-defined]  # checked
        check_id(node, "a node id in asked")


def _reveals_open(one: Round, asked: Sequence[str], now: int) -> bool:
    return now >= one.commit_deadline or all(node in one.commitments for node in asked)


def _is_over(one: Round, asked: Sequence[str], now: int) -> bool:
    all_revealed = len(one.openings) == len(one.commitments)
    return _reveals_open(one, asked, now) and (all_revealed or now >= one.reveal_deadline)


_NOTHING: Final = Round(0, 0)
_SCORES: Final = (b"\x01", b"\x02")
"""How the answer bytes of an image score and a text score begin."""


@dataclass(frozen=True)
class Group(Shown):
    """The nodes that answer one task, their answers, and the verdict.

    Parameters
    ----------
    id, task, creator, fee, min_memory_gib, policy, pool, base, beacon_round, opened, draw_deadline
        Fixed when the group opened (protocol P4). The base is the weight of all nodes that could serve, free or in a
        group (P4d).
    gpu_class
        For a text task the class of all nodes of the pool (P3); None for an image task.
    status
        The stage of the group.
    draw
        Beacon value, pool and members; None before the draw.
    rounds
        One or two rounds of answers; empty before the draw. `commit_deadline`, `reveal_deadline`, `commitments` and
        `openings` are those of the first round.
    verdict, delivered_by, transfers
        After settlement: the verdict of `judge`, the node whose result is delivered, and all payments.
    """

    id: str
    task: Task = field(repr=False)
    creator: str
    fee: int
    min_memory_gib: int
    policy: Policy = field(repr=False)
    pool: Pool = field(repr=False)
    base: int
    beacon_round: int
    opened: int
    draw_deadline: int
    gpu_class: NodeClass | None = None
    status: Status = Status.OPEN
    draw: Draw | None = field(default=None, repr=False)
    rounds: tuple[Round, ...] = field(default=(), repr=False)
    verdict: Verdict | None = field(default=None, repr=False)
    delivered_by: str | None = None
    transfers: tuple[Transfer, ...] = field(default=(), repr=False)

    @property
    def members(self) -> tuple[str, ...]:
        """The node ids, first drawn first; empty before the draw."""
        return () if self.draw is None else self.draw.members

    @property
    def draw_digest(self) -> str:
        """The digest that the members' commitments are bound to: `Draw.digest`.

        Raises
        ------
        TooEarlyError
            Before the draw.
        """
        if self.draw is None:
            raise TooEarlyError(f"group {self.id} has not been drawn yet: commit after the draw")
        return self.draw.digest

    def bound_to(self, round: int, now: int) -> str:  # noqa: A002
        """Return the `bound_to` of commitments in a round, 64 hexadecimal digits (protocol C1, C5).

        It is the draw's digest in the first round, and the seed in the second.

        Parameters
        ----------
        round
            The answering round: 1 or 2.
        now
            The time of the ledger in seconds: `Ledger.now`.

        Raises
        ------
        TooEarlyError
            Before the draw, and for the second round before the first is over.
        """
        if self._checked(round) == 1:
            return self.draw_digest
        seed = self.second_seed(now)
        if seed is None:
            raise TooEarlyError(f"the first round of group {self.id} is not over, so the second has no seed yet (C5)")
        return seed.hex()

    @property
    def escrow(self) -> int:
        """The fee while the ledger holds it; 0 after that."""
        return 0 if self.status.is_over else self.fee

    @property
    def _first(self) -> Round:
        return self.rounds[0] if self.rounds else _NOTHING

    @property
    def commit_deadline(self) -> int:
        """The time until which members commit in the first round; 0 before the draw."""
        return self._first.commit_deadline

    @property
    def reveal_deadline(self) -> int:
        """The time until which members reveal in the first round; 0 before the draw."""
        return self._first.reveal_deadline

    @property
    def commitments(self) -> Mapping[str, bytes]:
        """The commitments of the first round, by node id."""
        return self._first.commitments

    @property
    def openings(self) -> Mapping[str, Opening]:
        """The openings of the first round, by node id."""
        return self._first.openings

    @property
    def keeps_task(self) -> bool:
        """Whether no other group may have the task of this group, since its answers could be copied (protocol L9).

        Another group may have the task if there is a second round, which a copier cannot answer; if this group was
        closed; and if it was settled and nobody had revealed a score.
        """
        if self.policy.rounds > 1 or self.status is Status.CLOSED:
            return False
        return not self.status.is_over or any(opening.answer_bytes[:1] in _SCORES for opening in self.openings.values())

    def asked(self, round: int = 1) -> tuple[str, ...]:  # noqa: A002
        """Return the members that answer in a round: in the first all, in the second all that revealed a score (C5).

        The members of the second round are known when the first is over.
        """
        if self._checked(round) == 1:
            return self.members
        return tuple(node for node in self.members if isinstance(self.first_answer(node), ImageScore | TextScore))

    def first_answer(self, node: str) -> Member:
        """Return the answer of a member in the first round so far, or why there is none (protocol C3, C4)."""
        self._check_member(node)
        if node not in self.commitments:
            return Absent()
        if node not in self.openings:
            return Withheld()
        try:
            answer = self.openings[node].answer()
            check_answer(self.task, answer)
        except InvalidAnswerError as error:
            return Malformed(str(error))
        return answer

    def second_answer(self, node: str) -> KeyedScore | Malformed | Withheld:
        """Return the answer of a member in the second round so far, or why there is none (protocol C5)."""
        self._check_member(node)
        self._checked(2)
        if node not in self.rounds[1].openings:
            return Withheld()
        try:
            answer = KeyedScore.from_bytes(self.rounds[1].openings[node].answer_bytes)
            check_keyed(self.task, self.policy.second_algorithm, answer)  # type: ignore[arg-type]  # there are two rounds
        except InvalidAnswerError as error:
            return Malformed(f"in the second round: {error}")
        return answer

    def is_over(self, now: int, round: int = 1) -> bool:  # noqa: A002
        """Whether a round is over: all that committed have revealed, or the deadline has passed (protocol C2)."""
        check_integer(now, "now")
        number = self._checked(round)
        return self._has_begun(now, number) and _is_over(self.rounds[number - 1], self.asked(number), now)

    def reveals_open(self, now: int, round: int = 1) -> bool:  # noqa: A002
        """Whether members may reveal: all of the round have committed, or the commit deadline has passed (C2)."""
        check_integer(now, "now")
        number = self._checked(round)
        return self._has_begun(now, number) and _reveals_open(self.rounds[number - 1], self.asked(number), now)

    def _has_begun(self, now: int, number: int) -> bool:
        """Whether members answer in a round, or have: it is drawn, and the round before is over."""
        drawn = self.status is Status.DRAWN
        return drawn and (number == 1 or _is_over(self._first, self.members, now))

    def can_settle(self, now: int) -> bool:
        """Whether the group can be settled: all of its rounds are over (C2)."""
        return self.is_over(now, self.policy.rounds)

    def second_seed(self, now: int) -> bytes | None:
        """Return the seed of the second round, 32 bytes; None before the first is over, and if there is no second.

        Parameters
        ----------
        now
            The time of the ledger.
        """
        check_integer(now, "now")
        settled = self.status is Status.SETTLED
        if len(self.rounds) < 2 or not (settled or self.is_over(now)):
            return None
        return keyed_seed(self.draw_digest, {node: opening.nonce for node, opening in self.openings.items()})

    def to_dict(self) -> dict[str, Any]:
        """Return all fields for JSON, as in evidence: money as decimal strings, bytes as hexadecimal digits."""
        from crynux_validate.ledger.group_json import group_to_dict  # it reads groups as well

        return group_to_dict(self)

    @classmethod
    def from_dict(cls, value: object, *, ledger: str) -> "Group":
        """Read a drawn group that `to_dict` wrote.

        This does not check the group: `verify_draw` repeats its draw, `verify_evidence` checks its verdict.

        Parameters
        ----------
        value
            The value from JSON.
        ledger
            The id of the group's ledger, to which draws and commitments are bound.

        Raises
        ------
        InvalidInputError
            If the value is not a group, or the group is not drawn yet; the message names the wrong part.
        """
        from crynux_validate.ledger.group_json import read_group

        return read_group(ledger, value)

    def __repr__(self) -> str:
        outcome = None if self.verdict is None else self.verdict.outcome
        members = f"members {', '.join(self.members)}" if self.members else "no members yet"
        return summary(self, f"{self.id} {self.status}", outcome, f"fee {self.fee}", members)

    def __str__(self) -> str:
        of = "" if self.gpu_class is None else f", {self.gpu_class}"
        lines = [f"{self.id}  {self.status}, fee {self.fee}{of}"]
        width = max(map(len, self.members), default=0)
        for node in self.members:
            said = "revealed" if node in self.openings else "committed" if node in self.commitments else "nothing yet"
            if self.verdict is not None:
                stands = ", its result stands" * (node == self.delivered_by)
                said = f"{self.verdict.findings.get(node, 'not judged')}{stands}"
            lines.append(f"  {node:<{width}}  {said}")
        if self.verdict is not None:
            lines[0] += f", {self.verdict.outcome}"
        elif self.members:
            lines.append(f"  commit until {self.commit_deadline}, reveal until {self.reveal_deadline}")
        elif not self.status.is_over:
            lines.append(f"  drawn with beacon round {self.beacon_round}, until {self.draw_deadline}")
        return "\n".join(lines)

    def _checked(self, round: object) -> int:  # noqa: A002
        """Return the number of a round that this group's policy has."""
        return check_integer(round, "the round", 1, self.policy.rounds)

    def _check_member(self, node: object) -> None:
        if node not in self.members:
            members = ", ".join(self.members) or "no members yet"
            raise NotAMemberError(f"node {shorten(node)} is not a member of group {self.id} ({members})")

    def with_round(self, round: int, **changes: Any) -> "Group":  # noqa: A002
        """Return the group with another round of that number."""
        at, rounds = self._checked(round) - 1, list(self.rounds)
        rounds[at] = replace(rounds[at], **changes)
        return replace(self, rounds=tuple(rounds))
