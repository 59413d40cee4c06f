"""The blockchain's part: what a ledger holds, and the Protocol that others implement (protocol L1).

Money is integers of the smallest unit. Times are integers, seconds since the epoch of the ledger's clock.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Any, Final, Protocol

from crynux_validate.commitment import Opening
from crynux_validate.encoding import canonical_json, check_id, digest, length_prefixed, shorten
from crynux_validate.errors import BrokenLogError, InvalidInputError
from crynux_validate.frozen import FrozenMapping, freeze, thaw
from crynux_validate.judging import GROUP_SIZES, CentreRule, Verdict
from crynux_validate.machines.gpu import GpuModel
from crynux_validate.machines.roster import Candidate, Draw, Node
from crynux_validate.tasks import Task

PPM: Final = 1_000_000
MAX_MONEY: Final = 2**256 - 1
"""The most that an amount, a stake or a fee can be: what a chain's word holds."""

GENESIS: Final = "0" * 64
"""What the first event has as the digest of the one before it (L5)."""

Clock = Callable[[], int]
"""Returns the time: integer seconds since the epoch."""


class Beacon(Protocol):
    """Public randomness: a value for every round, that nobody knows before the round is public."""

    def next_round(self, now: int) -> int:
        """Return the number of the first round that is not public yet."""

    def value(self, round: int, now: int) -> bytes | None:  # noqa: A002
        """Return the value of a round, or None while it is not public."""


@dataclass(frozen=True)
class Policy:
    """The ledger's parameters; the ones that hold for a group are fixed when it opens (P4).

    Parameters
    ----------
    group_size
        Members of a group: 3, 5, 7 or 9.
    threshold, slash_threshold
        Of `CentreRule`.
    min_stake
        The least stake of a node, in the smallest unit (L4).
    stake_per_fee
        A member's slashable stake is at least this many times its share of the fee (P7).
    weight_unit
        How much stake counts as one in the draw (P4).
    slash_ppm, withheld_ppm
        Which part of the stake an ``INVALID`` or ``WITHHELD`` finding costs, in millionths (L4, C3).
    fault_fee_ppm
        Which part of its share of the fee a truthful report of an invalid task earns, in millionths (J4).
    slash_account
        Who gets what is slashed; None burns it.
    suspend_after
        After how many absences in a row a node is suspended (C3).
    draw_seconds, commit_seconds, reveal_seconds
        How long after opening a group can be drawn, and how long members then have to commit and to reveal (C2).
    """

    group_size: int = 3
    threshold: int = 16
    slash_threshold: int | None = None
    min_stake: int = 400
    stake_per_fee: int = 10
    weight_unit: int = 1
    slash_ppm: int = PPM
    withheld_ppm: int = PPM
    fault_fee_ppm: int = PPM // 10
    slash_account: str | None = None
    suspend_after: int = 3
    draw_seconds: int = 600
    commit_seconds: int = 3_600
    reveal_seconds: int = 600

    def __post_init__(self) -> None:
        if self.group_size not in GROUP_SIZES:
            raise InvalidInputError(f"group_size is {self.group_size!r}; expected one of {GROUP_SIZES}")
        for name, low, high in (
            ("min_stake", 1, MAX_MONEY),
            ("stake_per_fee", 0, 2**31),
            ("weight_unit", 1, MAX_MONEY),
            ("slash_ppm", 0, PPM),
            ("withheld_ppm", 0, PPM),
            ("fault_fee_ppm", 0, PPM),
            ("suspend_after", 1, 2**31),
            ("draw_seconds", 1, 2**31),
            ("commit_seconds", 1, 2**31),
            ("reveal_seconds", 1, 2**31),
        ):
            value = getattr(self, name)
            if type(value) is not int or not low <= value <= high:
                raise InvalidInputError(f"{name} is {shorten(value)}; expected an integer from {low} to {high}")
        if self.stake_per_fee and not self.slash_ppm:
            raise InvalidInputError("slash_ppm is 0, so no stake can cover a fee (P7); set stake_per_fee=0 as well")
        if self.slash_account is not None:
            check_id(self.slash_account, "slash_account")
        object.__setattr__(self, "slash_threshold", self.rule.slash_threshold)

    @classmethod
    def crynux(cls) -> "Policy":
        """Return the live network's threshold, 24 for both, and its least stake, 400 tokens of 18 decimals."""
        return cls(threshold=24, slash_threshold=24, min_stake=400 * 10**18, weight_unit=10**18)

    @property
    def rule(self) -> CentreRule:
        """How groups are judged."""
        return CentreRule(self.threshold, self.slash_threshold)

    def to_dict(self) -> dict[str, Any]:
        """Return the parameters for JSON; money as decimal strings."""
        return {**asdict(self), "min_stake": str(self.min_stake), "weight_unit": str(self.weight_unit)}

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> "Policy":
        """Read what `to_dict` writes."""
        money = {name: int(value[name]) for name in ("min_stake", "weight_unit")}
        return cls(**{**value, **money})


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


@dataclass(frozen=True)
class Transfer:
    """Money that moved at settlement: a fee, a refund, a slash.

    Parameters
    ----------
    source, target
        Accounts or, for a slash, the node that loses it; target None where it is burnt.
    amount
        In the smallest unit.
    why
        ``fee``, ``report``, ``refund`` or ``slash``.
    """

    source: str
    target: str | None
    amount: int
    why: str


@dataclass(frozen=True)
class Group:
    """The nodes that answer one task, and what became of them.

    Parameters
    ----------
    id, task, creator, fee, min_memory_gib, policy, pool, beacon_round, opened, draw_deadline
        Fixed when the group opened (P4).
    status
        How far it has come.
    draw
        Beacon value, pool and members, once drawn; `members` is a short-cut.
    commit_deadline, reveal_deadline
        Fixed when it was drawn (C2); 0 before.
    commitments, openings
        What each member handed in.
    verdict, delivered_by, transfers
        Once settled: what `judge` said, whose result stands, and where the money went.
    """

    id: str
    task: Task = field(repr=False)
    creator: str
    fee: int
    min_memory_gib: int
    policy: Policy = field(repr=False)
    pool: tuple[Candidate, ...] = field(repr=False)
    beacon_round: int
    opened: int
    draw_deadline: int
    status: Status = Status.OPEN
    draw: Draw | None = field(default=None, repr=False)
    commit_deadline: int = 0
    reveal_deadline: int = 0
    commitments: Mapping[str, bytes] = field(default_factory=FrozenMapping, repr=False)
    openings: Mapping[str, Opening] = field(default_factory=FrozenMapping, repr=False)
    verdict: Verdict | None = field(default=None, repr=False)
    delivered_by: str | None = None
    transfers: tuple[Transfer, ...] = field(default=(), repr=False)

    @property
    def members(self) -> tuple[str, ...]:
        """The node ids, first drawn first; empty before the draw."""
        return () if self.draw is None else self.draw.members

    @property
    def escrow(self) -> int:
        """The fee, while the ledger holds it."""
        return self.fee if self.status in (Status.OPEN, Status.DRAWN) else 0

    def reveals_open(self, now: int) -> bool:
        """Whether members may reveal: all have committed, or the commit deadline has passed (C2)."""
        return self.status is Status.DRAWN and (
            len(self.commitments) == len(self.members) or now >= self.commit_deadline
        )

    def can_settle(self, now: int) -> bool:
        """Whether the group can be settled: all that committed have revealed, or the time is over (C2)."""
        all_revealed = len(self.openings) == len(self.commitments)
        return self.reveals_open(now) and (all_revealed or now >= self.reveal_deadline)


@dataclass(frozen=True)
class Totals:
    """Where all money is (L2)."""

    accounts: int
    stakes: int
    escrows: int
    burnt: int
    deposited: int
    withdrawn: int

    @property
    def balanced(self) -> bool:
        """Whether no money was made or lost."""
        return self.accounts + self.stakes + self.escrows + self.burnt == self.deposited - self.withdrawn


@dataclass(frozen=True)
class Event:
    """One accepted action, chained to the one before it (L5).

    Parameters
    ----------
    seq
        0, 1, 2, ...
    time
        When, by the ledger's clock.
    kind
        The action's name; ``genesis`` for the first.
    payload
        ``action``: what was asked; ``result``: what came of it. JSON values, read-only; money as decimal strings.
    previous
        The digest of the event before it, 64 hexadecimal digits.
    """

    seq: int
    time: int
    kind: str
    payload: Mapping[str, Any]
    previous: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "payload", freeze(self.payload))

    def to_dict(self) -> dict[str, Any]:
        """Return the event as JSON values."""
        fields = {"seq": self.seq, "time": self.time, "kind": self.kind, "payload": thaw(self.payload)}
        return {**fields, "previous": self.previous}

    @cached_property
    def digest(self) -> str:
        """What the next event has as `previous`: 64 hexadecimal digits, over RFC 8785 JSON of the event."""
        return digest("event", length_prefixed(canonical_json(self.to_dict()))).hex()


def verify_chain(events: Sequence[Event], head: str | None = None) -> None:
    """Check that a log from its first event on is one chain (L5).

    Parameters
    ----------
    events
        All events from seq 0 on.
    head
        The digest of the last event, as it was kept elsewhere; without it a log that was cut off or rewritten from some
        event on is not found.

    Raises
    ------
    BrokenLogError
        Names the first event that does not fit.
    """
    previous = GENESIS
    for seq, event in enumerate(events):
        if event.seq != seq:
            raise BrokenLogError(f"event {seq} has the number {event.seq}")
        if event.previous != previous:
            raise BrokenLogError(f"event {seq} ({event.kind}) does not follow the one before it: edited or left out")
        previous = event.digest
    if head is not None and previous != head:
        raise BrokenLogError(f"the log ends with {previous}, not with the head {head}: cut off or rewritten")


class Ledger(Protocol):
    """Membership and stakes, groups, commitments, answers, verdicts, money.

    Every action happens whole or not at all; an error changes nothing (L1). This Protocol is not frozen yet.
    """

    @property
    def id(self) -> str:
        """The ledger's id, part of every commitment and draw."""

    @property
    def policy(self) -> Policy:
        """The parameters for groups that open now."""

    def deposit(self, account: str, amount: int) -> int:
        """Bring money in; returns the new balance."""

    def withdraw(self, account: str, amount: int) -> int:
        """Take money out; returns the new balance."""

    def join(self, node: str, *, owner: str, gpu: GpuModel, stake: int) -> Node:
        """Join with a stake from the owner's account."""

    def leave(self, node: str) -> Node:
        """Leave; the stake goes back to the owner's account."""

    def top_up(self, node: str, amount: int) -> Node:
        """Add to a stake from the owner's account."""

    def open_group(self, task: Task, *, creator: str, fee: int, min_memory_gib: int = 0) -> Group:
        """Escrow the fee and fix the pool; the members are drawn later (P4)."""

    def draw(self, group: str) -> Group:
        """Draw the members once the beacon round is public; anyone may."""

    def commit(self, group: str, node: str, commitment: bytes, *, round: int = 1) -> Group:  # noqa: A002
        """Bind a member to its answer (C2)."""

    def reveal(self, group: str, node: str, opening: Opening | bytes, *, round: int = 1) -> Group:  # noqa: A002
        """Open a member's commitment; anyone may hand it in (C2)."""

    def settle(self, group: str) -> Group:
        """Judge and pay; anyone may, and again changes nothing (L6)."""

    def account(self, account: str) -> int:
        """Return a balance; 0 for one that was never used."""

    def node(self, node: str) -> Node:
        """Return a node, also one that has left."""

    def nodes(self) -> Sequence[Node]:
        """Return all nodes that have joined."""

    def group(self, group: str) -> Group:
        """Return a group."""

    def events(self, since: int = 0) -> Sequence[Event]:
        """Return the events from a number on."""

    def totals(self) -> Totals:
        """Return where all money is."""
