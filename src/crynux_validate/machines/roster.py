"""The facts that pairing needs: nodes, candidates, draws."""

from dataclasses import dataclass, field

from crynux_validate.machines.gpu import GpuModel


@dataclass(frozen=True)
class Node:
    """Who answers: a machine with an owner, a GPU model and a stake.

    Parameters
    ----------
    id, owner
        1 to 128 printable ASCII characters. An id belongs to its first owner for ever.
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
    """

    id: str
    owner: str
    gpu: GpuModel
    stake: int
    joined: bool = True
    suspended: bool = False
    absences: int = 0
    group: str | None = None


@dataclass(frozen=True, slots=True)
class Candidate:
    """A node that could be drawn, with its owner and weight as they were when the group opened (P4)."""

    id: str
    owner: str
    weight: int


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
        Everybody who could be drawn when the group opened.
    unavailable
        The candidates that could no longer be drawn: removed before the draw, each alone.
    members
        The chosen node ids, first drawn first.
    """

    ledger: str
    group: str
    beacon: bytes
    pool: tuple[Candidate, ...] = field(repr=False)
    unavailable: frozenset[str]
    members: tuple[str, ...]
