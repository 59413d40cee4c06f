"""The facts that pairing needs: nodes, candidates, draws."""

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
    """Who answers: a machine with an owner, a GPU model and a stake.

    Parameters
    ----------
    id, owner
        1 to 128 printable ASCII characters, no spaces. An id belongs to its first owner for ever.
    gpu
        The declared GPU model.
    stake
        What it loses when it answers wrongly, in the smallest unit of money.
    joined
        False after it has left.
    suspended
        Whether it was absent too often; until it leaves and joins again (C3).
    absences
        How many times in a row it did not commit.
    leaving
        How many groups had been opened when it asked to leave; None where it has not. It can still be drawn by those
        groups, and by no later one (P4e).
    group
        The unsettled group that it is a member of.
    drawn
        The last draw that took it: how many groups had been opened by then, and the group; None for none since it
        joined. Those of the groups opened by then that wait cannot draw it (P4c). Nodes that differ in nothing else are
        equal: whether one can serve does not depend on it.
    attest_commitment
        The epoch and the commitment of its last `attest_commit`.
    attestations
        What it revealed of the two epochs last attested, the older first: one is in force while the other is taken
        (P6). Leaving clears both, and the commitment.
    public_key
        The Ed25519 key that it joined with, 32 bytes, and that its commitments are signed with (L8); None for none.
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
    """Return the value of a beacon if it is one: at least one byte."""
    if not isinstance(beacon, bytes) or not beacon:
        raise InvalidInputError(f"the beacon value is {shorten(beacon)}; expected at least one byte")
    return beacon


@dataclass(frozen=True)
class Draw:
    """A choice of members that anyone can repeat, and what they are chosen for: `crynux_validate.verify_draw` (P4).

    Parameters
    ----------
    ledger, group
        Ids.
    task, policy
        Digests, 64 hexadecimal digits each: `Task.digest`, `Policy.digest`.
    fee
        What the creator pays, in the smallest unit.
    beacon_round, beacon
        The round, and the value of the public randomness in it.
    pool
        Everybody who could be drawn when the group opened: a `Pool`, or candidates that make one.
    unavailable
        The candidates that a word of the draw hit and that could no longer be drawn, each with the group that had taken
        it (P4c).
    unavailable_weight
        The weight of all candidates that could no longer be drawn.
    members
        The chosen node ids, first drawn first.
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
        """64 hexadecimal digits over all of it but the pool, which decides the members (protocol, "Bytes").

        Commitments and signatures are bound to it: one that was made for another task, policy, draw or co-member fits
        no other.

        Raises
        ------
        InvalidInputError
            Names a part that no draw has.
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
