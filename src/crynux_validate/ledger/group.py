"""A group: who answers one task, what they handed in, and what became of them (protocol P4, C2, C5)."""

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
    """How far a group has come."""

    OPEN = "OPEN"
    """Waiting for its beacon round; nobody is chosen."""
    DRAWN = "DRAWN"
    """Its members commit and reveal."""
    SETTLED = "SETTLED"
    """Judged and paid."""
    CLOSED = "CLOSED"
    """It could not be drawn; everything was refunded."""

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
        The group, or for a slash the node that loses it, and the account that gets it; None where it is burnt.
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
    """Who signed a commitment: the key that the node had joined with, 32 bytes, and 64 bytes of Ed25519 (L8)."""

    public_key: bytes
    value: bytes = field(repr=False)

    def __repr__(self) -> str:
        return summary(self, f"of {self.public_key.hex()}")


@dataclass(frozen=True)
class Round:
    """One round of answering: its members commit, then reveal (C2).

    Parameters
    ----------
    commit_deadline, reveal_deadline
        Fixed when the group was drawn.
    commitments, openings
        What each member handed in.
    signatures
        Of the commitments of nodes that joined with a key (L8).
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
        """Whether those who were asked may reveal: all have committed, or the commit deadline has passed."""
        _check_asked(asked)
        return _reveals_open(self, asked, check_integer(now, "now"))

    def is_over(self, asked: Sequence[str], now: int) -> bool:
        """Whether nothing more can come: all that committed have revealed, or the time is over."""
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
    """The nodes that answer one task, and what became of them.

    Parameters
    ----------
    id, task, creator, fee, min_memory_gib, policy, pool, base, beacon_round, opened, draw_deadline
        Fixed when the group opened (P4). The base is the weight of all that could serve, in a group or not (P4d).
    gpu_class
        For a text task the class of all nodes of the pool, likewise (P3); None for an image task.
    status
        How far it has come.
    draw
        Beacon value, pool and members, once drawn; `members` is a short-cut.
    rounds
        One or two rounds of answering, once drawn; `commit_deadline`, `reveal_deadline`, `commitments` and `openings`
        are short-cuts to the first.
    verdict, delivered_by, transfers
        Once settled: what `judge` said, whose result stands, and where the money went.
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
        """What the members' commitments are bound to: `Draw.digest`.

        Raises
        ------
        TooEarlyError
            Before the draw.
        """
        if self.draw is None:
            raise TooEarlyError(f"group {self.id} has not been drawn: there is nothing yet to bind a commitment to")
        return self.draw.digest

    def bound_to(self, round: int, now: int) -> str:  # noqa: A002
        """Return what commitments in a round are bound to, 64 hexadecimal digits (C1, C5).

        In the first round that is the draw, in the second the seed, so that an answer which was made for another seed
        fits nowhere else.

        Parameters
        ----------
        round
            Which answering round, 1 or 2.
        now
            The time of the ledger.

        Raises
        ------
        TooEarlyError
            Before the draw, and for the second round while the first goes on.
        """
        if self._checked(round) == 1:
            return self.draw_digest
        seed = self.second_seed(now)
        if seed is None:
            raise TooEarlyError(f"the first round of group {self.id} is not over: the second has no seed yet (C5)")
        return seed.hex()

    @property
    def escrow(self) -> int:
        """The fee, while the ledger holds it."""
        return 0 if self.status.is_over else self.fee

    @property
    def _first(self) -> Round:
        return self.rounds[0] if self.rounds else _NOTHING

    @property
    def commit_deadline(self) -> int:
        """Until when members commit in the first round; 0 before the draw."""
        return self._first.commit_deadline

    @property
    def reveal_deadline(self) -> int:
        """Until when members reveal in the first round; 0 before the draw."""
        return self._first.reveal_deadline

    @property
    def commitments(self) -> Mapping[str, bytes]:
        """What each member committed to in the first round."""
        return self._first.commitments

    @property
    def openings(self) -> Mapping[str, Opening]:
        """What each member revealed in the first round."""
        return self._first.openings

    @property
    def keeps_task(self) -> bool:
        """Whether no other group may be given this one's task, as its answers could be copied (L9).

        It may where there is a second round, which a copier cannot answer; where this group was closed; and where it
        was settled and nobody had opened a score.
        """
        if self.policy.rounds > 1 or self.status is Status.CLOSED:
            return False
        return not self.status.is_over or any(opening.answer_bytes[:1] in _SCORES for opening in self.openings.values())

    def asked(self, round: int = 1) -> tuple[str, ...]:  # noqa: A002
        """Return who answers in a round: in the first all members, in the second who revealed a score (C5).

        Who that is in the second is known once the first round is over.
        """
        if self._checked(round) == 1:
            return self.members
        return tuple(node for node in self.members if isinstance(self.first_answer(node), ImageScore | TextScore))

    def first_answer(self, node: str) -> Member:
        """Return what a member did in the first round, as it is now (C3, C4)."""
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
        """Return what a member that was asked did in the second round, as it is now (C5)."""
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
        """Whether a round is over: all that committed have revealed, or the time is over (C2)."""
        check_integer(now, "now")
        number = self._checked(round)
        return self._has_begun(now, number) and _is_over(self.rounds[number - 1], self.asked(number), now)

    def reveals_open(self, now: int, round: int = 1) -> bool:  # noqa: A002
        """Whether members may reveal: all that are asked have committed, or the commit deadline has passed (C2)."""
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
        """Return the seed of the second answers, 32 bytes; None while the first round goes on, and without a second.

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
        """Return all of it for JSON, as evidence carries it: money as decimal strings, bytes as hexadecimal digits."""
        from crynux_validate.ledger.group_json import group_to_dict  # it reads groups as well

        return group_to_dict(self)

    @classmethod
    def from_dict(cls, value: object, *, ledger: str) -> "Group":
        """Read a drawn group that `to_dict` wrote, as somebody else sent it.

        Nothing of it is believed thereby: `verify_draw` repeats its draw.

        Parameters
        ----------
        value
            What JSON gave.
        ledger
            The id of its ledger, which every draw and commitment is bound to.

        Raises
        ------
        InvalidInputError
            For what is no such group, or one that is not drawn yet; says what is not as it should be.
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
