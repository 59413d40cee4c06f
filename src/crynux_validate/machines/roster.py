"""The facts that pairing needs: nodes, candidates, draws."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from crynux_validate.encoding import summary
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
    group
        The unsettled group that it is a member of.
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
    group: str | None = None
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
            "group": self.group,
            "attest_commitment": None
            if committed is None
            else {"epoch": committed[0], "commitment": committed[1].hex()},
            "attestations": [attestation.to_dict() for attestation in self.attestations],
            "public_key": None if self.public_key is None else self.public_key.hex(),
        }

    def __repr__(self) -> str:
        state = "has left" if not self.joined else "suspended" if self.suspended else ""
        where = f"in {self.group}" if self.group else ""
        return summary(self, f"{self.id} of {self.owner}", self.gpu, f"stake {self.stake}", state, where)


@dataclass(frozen=True)
class Draw:
    """A choice of members that anyone can repeat: `crynux_validate.verify_draw` (P4).

    Parameters
    ----------
    ledger, group
        Ids.
    beacon
        The value of the public randomness.
    pool
        Everybody who could be drawn when the group opened; `draw` makes it a `Pool`.
    unavailable
        The candidates that could no longer be drawn: removed before the draw, each alone.
    members
        The chosen node ids, first drawn first.
    """

    ledger: str
    group: str
    beacon: bytes
    pool: Sequence[Candidate] = field(repr=False)
    unavailable: frozenset[str]
    members: tuple[str, ...]

    def __repr__(self) -> str:
        return summary(self, f"for {self.group} of ledger {self.ledger}", *self.members)
