"""The blockchain's part: what a ledger holds, and the Protocol that others implement (protocol L1).

Money is integers of the smallest unit. Times are integers, seconds since the epoch of the ledger's clock.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Any, Final, Protocol

from crynux_validate.commitment import Opening
from crynux_validate.encoding import (
    DIGEST_BYTES,
    canonical_json,
    check_id,
    digest,
    length_prefixed,
    parse_hex,
    shorten,
)
from crynux_validate.errors import BrokenLogError, InvalidInputError
from crynux_validate.frozen import FrozenMapping, freeze, thaw
from crynux_validate.judging import GROUP_SIZES, CentreRule, Verdict
from crynux_validate.machines.classes import Attestation, NodeClass
from crynux_validate.machines.gpu import GpuModel
from crynux_validate.machines.pool import Pool
from crynux_validate.machines.roster import Draw, Node
from crynux_validate.tasks import Task

PPM: Final = 1_000_000
MAX_MONEY: Final = 2**256 - 1
"""The most that an amount, a stake or a fee can be: what a chain's word holds."""

GENESIS: Final = "0" * 64
"""What the first event has as the digest of the one before it (L5)."""

LEDGER_VERSION: Final = 1
"""The version of the `Ledger` Protocol; a method that comes, goes or changes its meaning raises it."""

_POLICY_MONEY: Final = ("min_stake", "weight_unit", "min_class_stake")

Clock = Callable[[], int]
"""Returns the time: integer seconds since the epoch."""


class Beacon(Protocol):
    """Public randomness: a value for every round, that nobody knows before the round is public."""

    def next_round(self, now: int) -> int:
        """Return the number of the first round that is not public yet."""

    def value(self, round: int, now: int) -> bytes | None:  # noqa: A002
        """Return the value of a round, or None while it is not public."""


@dataclass(frozen=True)
class Epoch:
    """The period for which one canary answer is asked (P6). Its numbers follow from the clock and the policy alone.

    Parameters
    ----------
    number
        floor(now / `epoch_seconds`).
    starts, commit_deadline, reveal_deadline
        Attestations are committed to from `starts` on and before `commit_deadline`, and revealed from then on and
        before `reveal_deadline`.
    in_force
        The epoch whose attestations say what class a node has now: the one before until the reveal deadline, then this
        one. All nodes change over at once, so that equal machines never stand in two classes, and none without.
    challenge
        What this epoch's canary answers; None while it is not public.
    """

    number: int
    starts: int
    commit_deadline: int
    reveal_deadline: int
    in_force: int
    challenge: bytes | None = field(default=None, repr=False)


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
    epoch_seconds
        How long an epoch lasts (P6). Whoever joins when its commitments are over gets no text task until the next one's
        attestations are in force.
    attest_commit_seconds, attest_reveal_seconds
        How long from an epoch's start nodes can commit to an attestation, and how long they then can reveal it;
        together at most `epoch_seconds`.
    admitted_declarations
        `NodeClass.declaration`, as hexadecimal digits, of the machines that text tasks go to whatever their number
        (P3). A list keeps invented classes out for good, where `min_class_owners` is so large that size admits none. Of
        the classes that declare the same, only the heaviest is admitted: a false declarer must outweigh the honest.
    min_class_owners
        How many distinct owners make a class large enough for text tasks that name none (P3). It keeps out whoever has
        many nodes under one name. Names cost nothing: it does not keep out one person with many.
    min_class_stake
        What the nodes of such a class must have at stake together, in the smallest unit; None is twice what a group of
        nodes with the least stake has. It is the price of an invented class, whatever names it has. Who pays it
        gets tasks by outweighing all others, or where no heavier class can serve: too busy (which a few small fees can
        bring about), with too little memory for the task, or with too little stake for its fee. Who fills a group with
        its own nodes is never slashed. Where fees are worth that, keep a list, and let size admit none.
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
    epoch_seconds: int = 86_400
    attest_commit_seconds: int = 3_600
    attest_reveal_seconds: int = 3_600
    admitted_declarations: tuple[str, ...] = ()
    min_class_owners: int = 3
    min_class_stake: int | None = None

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
            ("epoch_seconds", 2, 2**31),
            ("attest_commit_seconds", 1, 2**31),
            ("attest_reveal_seconds", 1, 2**31),
            ("min_class_owners", 1, 2**31),
            ("min_class_stake", 0, MAX_MONEY),
        ):
            value = getattr(self, name)
            if name == "min_class_stake" and value is None:
                continue
            if type(value) is not int or not low <= value <= high:
                raise InvalidInputError(f"{name} is {shorten(value)}; expected an integer from {low} to {high}")
        if self.stake_per_fee and not self.slash_ppm:
            raise InvalidInputError("slash_ppm is 0, so no stake can cover a fee (P7); set stake_per_fee=0 as well")
        if self.slash_account is not None:
            check_id(self.slash_account, "slash_account")
        if self.attest_commit_seconds + self.attest_reveal_seconds > self.epoch_seconds:
            raise InvalidInputError(
                f"attest_commit_seconds and attest_reveal_seconds are {self.attest_commit_seconds} and "
                f"{self.attest_reveal_seconds}, together more than epoch_seconds, which is {self.epoch_seconds} (P6)"
            )
        if type(self.admitted_declarations) not in (tuple, list):
            found = shorten(self.admitted_declarations)
            raise InvalidInputError(f"admitted_declarations is {found}; expected a tuple of hexadecimal digests")
        listed = [
            parse_hex(text, "a digest in admitted_declarations", DIGEST_BYTES) for text in self.admitted_declarations
        ]
        object.__setattr__(self, "admitted_declarations", tuple(found.hex() for found in listed))
        object.__setattr__(self, "slash_threshold", self.rule.slash_threshold)

    @classmethod
    def crynux(cls) -> "Policy":
        """Return the live network's threshold, 24 for both, and its least stake, 400 tokens of 18 decimals."""
        return cls(threshold=24, slash_threshold=24, min_stake=400 * 10**18, weight_unit=10**18)

    @property
    def rule(self) -> CentreRule:
        """How groups are judged."""
        return CentreRule(self.threshold, self.slash_threshold)

    @property
    def least_class_stake(self) -> int:
        """What the nodes of a class that its size admits have at stake together (P3)."""
        return 2 * self.group_size * self.min_stake if self.min_class_stake is None else self.min_class_stake

    def epoch_at(self, now: int, challenge: bytes | None = None) -> Epoch:
        """Return the epoch of a time, with the challenge that a beacon has for it."""
        number = now // self.epoch_seconds
        starts = number * self.epoch_seconds
        commit_deadline = starts + self.attest_commit_seconds
        reveal_deadline = commit_deadline + self.attest_reveal_seconds
        in_force = number if now >= reveal_deadline else number - 1
        return Epoch(number, starts, commit_deadline, reveal_deadline, in_force, challenge)

    def to_dict(self) -> dict[str, Any]:
        """Return the parameters for JSON; money as decimal strings."""
        fields = {**asdict(self), "admitted_declarations": list(self.admitted_declarations)}
        money = {name: str(fields[name]) for name in _POLICY_MONEY if fields[name] is not None}
        return {**fields, **money}

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> "Policy":
        """Read what `to_dict` writes."""
        money = {name: int(value[name]) for name in _POLICY_MONEY if value[name] is not None}
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
    gpu_class
        For a text task the class of all nodes of the pool, likewise (P3); None for an image task.
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
    pool: Pool = field(repr=False)
    beacon_round: int
    opened: int
    draw_deadline: int
    gpu_class: NodeClass | None = None
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
    def canonical_bytes(self) -> bytes:
        """RFC 8785 JSON of the event: what a log holds."""
        return canonical_json(self.to_dict())

    @cached_property
    def digest(self) -> str:
        """What the next event has as `previous`: 64 hexadecimal digits, over the canonical bytes."""
        return digest("event", length_prefixed(self.canonical_bytes)).hex()


def verify_chain(events: Iterable[Event], head: str | None = None) -> None:
    """Check that a log from its first event on is one chain (L5).

    Parameters
    ----------
    events
        All events from seq 0 on, in order; read one by one.
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

    Every action happens whole or not at all; an error changes nothing (L1). This is version `LEDGER_VERSION`. What
    stores can build on `StoringLedger`, which has all of these methods; a chain that runs the rules itself implements
    the Protocol.
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

    def attest_commit(self, node: str, commitment: bytes, *, epoch: int) -> Node:
        """Bind a node to its attestation for the present epoch (P6)."""

    def attest_reveal(self, node: str, attestation: Attestation, nonce: bytes) -> Node:
        """Open a node's commitment to its attestation; anyone may hand it in (P6)."""

    def open_group(
        self,
        task: Task,
        *,
        creator: str,
        fee: int,
        min_memory_gib: int = 0,
        gpu_class: NodeClass | str | None = None,
    ) -> Group:
        """Escrow the fee and fix the pool, for a text task of one class; the members are drawn later (P3, P4)."""

    def draw(self, group: str) -> Group:
        """Draw the members once the beacon round is public; anyone may."""

    def commit(self, group: str, node: str, commitment: bytes, *, round: int = 1) -> Group:  # noqa: A002
        """Bind a member to its answer (C2)."""

    def reveal(self, group: str, node: str, opening: Opening | bytes, *, round: int = 1) -> Group:  # noqa: A002
        """Open a member's commitment; anyone may hand it in (C2)."""

    def settle(self, group: str) -> Group:
        """Judge and pay; anyone may, and again changes nothing (L6)."""

    def epoch(self) -> Epoch:
        """Return the present epoch, with its challenge once that is public (P6)."""

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
