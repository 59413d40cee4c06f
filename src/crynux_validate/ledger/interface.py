"""The Protocol of a ledger, which a blockchain can implement (protocol L1).

Amounts of money are integers in the smallest unit. Times are integers: seconds since 1970 on the ledger's clock.
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
"""The version of the `Ledger` Protocol and of the rules (`docs/protocol.md`). It is raised if a method, an argument or
a rule is added, removed or changed."""


@dataclass(frozen=True)
class Totals:
    """Where all money of a ledger is (protocol L2)."""

    accounts: int
    stakes: int
    escrows: int
    burnt: int
    deposited: int
    withdrawn: int

    @property
    def balanced(self) -> bool:
        """Whether the sum of all money is what was deposited and not withdrawn."""
        return self.accounts + self.stakes + self.escrows + self.burnt == self.deposited - self.withdrawn

    def to_dict(self) -> dict[str, str]:
        """Return all of it for JSON: money as decimal strings."""
        return {name: str(amount) for name, amount in asdict(self).items()}


class Ledger(Protocol):
    """Nodes and stakes, groups, commitments, answers, verdicts, money.

    Every action happens completely or not at all; an error changes nothing (protocol L1). This is version
    `LEDGER_VERSION`. A ledger with a store of its own can be built on `StoringLedger`, which has all of these methods;
    a chain that runs the rules itself implements the Protocol.
    """

    @property
    def id(self) -> str:
        """The ledger's id, part of every commitment and draw."""

    @property
    def policy(self) -> Policy:
        """The parameters for groups that open now."""

    def deposit(self, account: str, amount: int) -> int:
        """Add money to an account, and return the new balance."""

    def withdraw(self, account: str, amount: int) -> int:
        """Take money from an account, and return the new balance."""

    def join(self, node: str, *, owner: str, gpu: GpuModel, stake: int, public_key: bytes | None = None) -> Node:
        """Add a node with a stake from its owner's account. With a public key its commitments must be signed (L8)."""

    def leave(self, node: str) -> Node:
        """Ask to leave. The stake goes back to the owner's account after all groups that can draw the node (P4e)."""

    def top_up(self, node: str, amount: int) -> Node:
        """Add money of the owner's account to a stake. The sum counts in groups that open later (P4e)."""

    def attest_commit(self, node: str, commitment: bytes, *, epoch: int, signature: bytes | None = None) -> Node:
        """Commit a node to its attestation in the current epoch (P6), signed if the node joined with a key (L8)."""

    def attest_reveal(self, node: str, attestation: Attestation, nonce: bytes) -> Node:
        """Reveal a node's attestation and the nonce of its commitment. Anybody may call this (P6)."""

    def open_group(
        self,
        task: Task,
        *,
        creator: str,
        fee: int,
        min_memory_gib: int = 0,
        gpu_class: NodeClass | str | None = None,
    ) -> Group:
        """Open a group for a task: hold the fee and fix the pool, for a text task that of one class (P3, P4)."""

    def draw(self, group: str) -> Group:
        """Draw the members after the beacon round is public and older groups are drawn. Anybody may call this (P4b)."""

    def commit(
        self,
        group: str,
        node: str,
        commitment: bytes,
        *,
        round: int = 1,  # noqa: A002
        signature: bytes | None = None,
    ) -> Group:
        """Commit a member to its answer (C2), signed if the node joined with a key (L8)."""

    def reveal(self, group: str, node: str, opening: Opening | bytes, *, round: int = 1) -> Group:  # noqa: A002
        """Reveal a member's answer and the nonce of its commitment. Anybody may call this (C2)."""

    def settle(self, group: str) -> Group:
        """Judge a group, pay and slash. Anybody may call this; a second call changes nothing (L6)."""

    def now(self) -> int:
        """Return the ledger's time in seconds, with which deadlines are compared."""

    def epoch(self) -> Epoch:
        """Return the current epoch. Its challenge is None while it is not public (P6)."""

    def account(self, account: str) -> int:
        """Return the balance of an account; 0 if it was never used."""

    def node(self, node: str) -> Node:
        """Return a node, also if it has left."""

    def nodes(self) -> Sequence[Node]:
        """Return all nodes that have joined, in no particular order."""

    def group(self, group: str) -> Group:
        """Return a group."""

    def evidence(self, group: str, node: str) -> Evidence:
        """Return the evidence with which anybody can check the finding about a member of a settled group (L8)."""

    def events(self, since: int = 0) -> Sequence[Event]:
        """Return the events of the log from number `since` on."""

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
