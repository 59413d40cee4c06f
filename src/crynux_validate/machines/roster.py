"""Nodes and draws."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from crynux_validate.encoding import (
    DIGEST_BYTES,
    check_id,
    check_integer,
    check_type,
    digest,
    length_prefixed,
    parse_hex,
    shorten,
    summary,
)
from crynux_validate.errors import InvalidInputError
from crynux_validate.machines.classes import Attestation
from crynux_validate.machines.gpu import GpuModel
from crynux_validate.machines.pool import Candidate


@dataclass(frozen=True)
class Node:
    """A node: a machine with an owner, a GPU model and a stake.

    Parameters
    ----------
    id, owner
        1 to 128 printable ASCII characters, no spaces. An id belongs to its first owner for ever.
    gpu
        The declared GPU model.
    stake
        The money that the node can lose, in the smallest unit.
    joined
        False after the node has left.
    suspended
        Whether the node was absent too often, until it leaves and joins again (protocol C3).
    absences
        The number of groups in a row in which the node did not commit.
    leaving
        The number of groups that had been opened when the node asked to leave; None if it has not. Those groups can
        still draw the node, later ones cannot (P4e).
    group
        The unsettled group that the node is a member of; None if there is none.
    drawn
        The last draw of the node: the number of groups that had been opened by then, and the group; None since it
        joined. Groups that were opened by then and still wait cannot draw the node (P4c). Two nodes that differ only in
        this field are equal.
    attest_commitment
        The epoch and the commitment of the node's last `attest_commit`.
    attestations
        The node's last two revealed attestations, the older first: one is in force while the other is collected (P6).
        Leaving clears both, and the commitment.
    public_key
        The Ed25519 key with which the node joined, 32 bytes, and signs its commitments (L8); None for none.
    """

    id: str
    owner: str
    gpu: GpuModel
    stake: int
    joined: bool = True
    suspended: bool = False
    absences: int = 0
    leaving: int | None = None
    group: str | None = None
    drawn: tuple[int, str] | None = field(default=None, compare=False)
    attest_commitment: tuple[int, bytes] | None = None
    attestations: tuple[Attestation, ...] = ()
    public_key: bytes | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return all of it for JSON: the stake as a decimal string, bytes as hexadecimal digits."""
        committed = self.attest_commitment
        return {
            "id": self.id,
            "owner": self.owner,
            "gpu": self.gpu.to_dict(),
            "stake": str(self.stake),
            "joined": self.joined,
            "suspended": self.suspended,
            "absences": self.absences,
            "leaving": self.leaving,
            "group": self.group,
            "drawn": None if self.drawn is None else {"opened": self.drawn[0], "group": self.drawn[1]},
            "attest_commitment": None
            if committed is None
            else {"epoch": committed[0], "commitment": committed[1].hex()},
            "attestations": [attestation.to_dict() for attestation in self.attestations],
            "public_key": None if self.public_key is None else self.public_key.hex(),
        }

    def __repr__(self) -> str:
        state = "has left" if not self.joined else "suspended" if self.suspended else ""
        where = f"in {self.group}" if self.group else ""
        leaving = "leaving" if self.joined and self.leaving is not None else ""
        return summary(self, f"{self.id} of {self.owner}", self.gpu, f"stake {self.stake}", state, leaving, where)


def check_value(beacon: object) -> bytes:
    """Return `beacon` if it is the value of a beacon: at least one byte."""
    if not isinstance(beacon, bytes) or not beacon:
        raise InvalidInputError(f"the beacon value is {shorten(beacon)}; expected at least one byte")
    return beacon


@dataclass(frozen=True)
class Draw:
    """The draw of a group's members, which `crynux_validate.verify_draw` repeats (protocol P4).

    Parameters
    ----------
    ledger, group
        The ids of the ledger and of the group.
    task, policy
        The digests `Task.digest` and `Policy.digest`, 64 hexadecimal digits each.
    fee
        The fee that the creator pays, in the smallest unit.
    beacon_round, beacon
        The round of the beacon, and its value.
    pool
        The candidates when the group opened: a `Pool`, or an iterable of `Candidate`.
    unavailable
        The candidates that a word of the draw hit and that another group had already drawn, each with this group (P4c).
    unavailable_weight
        The weight of all candidates that other groups had already drawn.
    members
        The node ids of the members, in the order of the draw.
    """

    ledger: str
    group: str
    task: str
    policy: str
    fee: int
    beacon_round: int
    beacon: bytes
    pool: Sequence[Candidate] = field(repr=False)
    unavailable: Mapping[str, str]
    unavailable_weight: int
    members: tuple[str, ...]

    @cached_property
    def digest(self) -> str:
        """The digest over ledger, group, task, policy, fee, beacon and members, 64 hexadecimal digits ("Bytes").

        Commitments and signatures are bound to it, so they are valid for one task, policy and draw only.

        Raises
        ------
        InvalidInputError
            For an invalid field, which the message names.
        """
        check_type(self.members, Sequence, "the members of a draw", "node ids")
        return digest(
            "drawn",
            length_prefixed(check_id(self.ledger, "the ledger id of a draw")),
            length_prefixed(check_id(self.group, "the group id of a draw")),
            parse_hex(self.task, "the task's digest of a draw", DIGEST_BYTES),
            parse_hex(self.policy, "the policy's digest of a draw", DIGEST_BYTES),
            length_prefixed(str(check_integer(self.fee, "the fee of a draw", 0, 2**256 - 1))),
            check_integer(self.beacon_round, "the beacon round of a draw").to_bytes(8, "big"),
            length_prefixed(check_value(self.beacon)),
            bytes([check_integer(len(self.members), "the number of members of a draw", 1, 255)]),
            *(length_prefixed(check_id(node, "a member of a draw")) for node in self.members),
        ).hex()

    def __repr__(self) -> str:
        return summary(self, f"for {self.group} of ledger {self.ledger}", *self.members)
