"""The blockchain's part: the Protocol that others implement, and what it speaks of (protocol L1).

Money is integers of the smallest unit. Times are integers, seconds since the epoch of the ledger's clock.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Final, Protocol

from crynux_validate.commitment import Opening
from crynux_validate.ledger.evidence import Evidence
from crynux_validate.ledger.group import Group, Round, Signature, Status, Transfer
from crynux_validate.ledger.log import GENESIS, Event, verify_chain
from crynux_validate.ledger.policy import MAX_MONEY, PPM, Beacon, Clock, Epoch, Policy
from crynux_validate.machines.classes import Attestation, NodeClass
from crynux_validate.machines.gpu import GpuModel
from crynux_validate.machines.roster import Node
from crynux_validate.tasks import Task

LEDGER_VERSION: Final = 2
"""The version of the `Ledger` Protocol and of the rules (`docs/protocol.md`): a method, an argument or a rule that
comes, goes or changes its meaning raises it."""


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

    def to_dict(self) -> dict[str, str]:
        """Return all of it for JSON: money as decimal strings."""
        return {name: str(amount) for name, amount in asdict(self).items()}


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

    def join(self, node: str, *, owner: str, gpu: GpuModel, stake: int, public_key: bytes | None = None) -> Node:
        """Join with a stake from the owner's account, and with a key that its commitments are then signed with (L8)."""

    def leave(self, node: str) -> Node:
        """Ask to leave; the stake goes back to the owner's account once no group can need it any more (P4e)."""

    def top_up(self, node: str, amount: int) -> Node:
        """Add to a stake from the owner's account; it counts in pools that open later (P4e)."""

    def attest_commit(self, node: str, commitment: bytes, *, epoch: int, signature: bytes | None = None) -> Node:
        """Bind a node to its attestation for the present epoch (P6); signed where it joined with a key (L8)."""

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
        """Draw the members once the beacon round is public, after all groups that wait longer; anyone may (P4b)."""

    def commit(
        self,
        group: str,
        node: str,
        commitment: bytes,
        *,
        round: int = 1,  # noqa: A002
        signature: bytes | None = None,
    ) -> Group:
        """Bind a member to its answer (C2)."""

    def reveal(self, group: str, node: str, opening: Opening | bytes, *, round: int = 1) -> Group:  # noqa: A002
        """Open a member's commitment; anyone may hand it in (C2)."""

    def settle(self, group: str) -> Group:
        """Judge and pay; anyone may, and again changes nothing (L6)."""

    def now(self) -> int:
        """Return the ledger's time, in seconds: what its deadlines are compared with."""

    def epoch(self) -> Epoch:
        """Return the present epoch, with its challenge once that is public (P6)."""

    def account(self, account: str) -> int:
        """Return a balance; 0 for one that was never used."""

    def node(self, node: str) -> Node:
        """Return a node, also one that has left."""

    def nodes(self) -> Sequence[Node]:
        """Return all nodes that have joined, in no particular order."""

    def group(self, group: str) -> Group:
        """Return a group."""

    def evidence(self, group: str, node: str) -> Evidence:
        """Return what a third person needs to check a member's finding in a settled group (L8)."""

    def events(self, since: int = 0) -> Sequence[Event]:
        """Return the events from a number on."""

    def totals(self) -> Totals:
        """Return where all money is."""


__all__ = [
    "GENESIS",
    "LEDGER_VERSION",
    "MAX_MONEY",
    "PPM",
    "Beacon",
    "Clock",
    "Epoch",
    "Event",
    "Evidence",
    "Group",
    "Ledger",
    "Policy",
    "Round",
    "Signature",
    "Status",
    "Totals",
    "Transfer",
    "verify_chain",
]
