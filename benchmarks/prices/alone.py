"""The price of burning honest stake in groups that are drawn by themselves, for every way to behave.

The coalition creates the tasks, and knows what its members in a group are before it answers. So a way to behave is a
kind of task, what its members do where they are a quorum, and what they do where they are not.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Final

import numpy as np

from benchmarks.prices.money import Did, Ints, settle_many
from benchmarks.prices.pools import Nodes, Places
from crynux_validate import Policy

SIZES: Final = (3, 5, 7, 9)
FEES: Final = (1, 10, 1_000)
"""In multiples of the least fee."""

STAKE: Final = 50 * 400
"""Of a node of weight 1: with the default policy it can serve for 1,000 times the least fee (P7), and lose all that a
slash takes for that."""

POOLS: Final = {
    "equal": Nodes(100, 900),
    "coalition's nodes lighter, 1:4": Nodes(100, 225, 1, 4),
    "coalition's nodes heavier, 4:1": Nodes(25, 900, 4, 1),
    "few nodes, equal": Nodes(4, 36),
    "few nodes, coalition's lighter, 1:4": Nodes(8, 18, 1, 4),
}
"""A tenth of the weight is the coalition's."""


@dataclass(frozen=True)
class Way:
    """How a coalition behaves.

    Parameters
    ----------
    agreeable
        Whether honest nodes give equal answers to its tasks; otherwise each gives another.
    quorum, otherwise
        What its members do where they are more than half of a group, and where they are not.
    """

    agreeable: bool
    quorum: Did
    otherwise: Did

    def __str__(self) -> str:
        task = "honest nodes agree" if self.agreeable else "honest nodes cannot agree"
        return f"{task}; quorum {self.quorum.name}, otherwise {self.otherwise.name}"


WAYS: Final = tuple(
    Way(agreeable, quorum, otherwise)
    for agreeable, quorum, otherwise in product((True, False), (Did.CHEAT, Did.REPORT), Did)
    if (agreeable or otherwise is not Did.HONEST) and otherwise is not Did.CHEAT
)


@dataclass(frozen=True)
class Price:
    """What was burnt and what that cost, in shares of the fee, on average of all groups.

    Parameters
    ----------
    groups
        How many groups there were.
    quorums
        In which part of them the coalition was a quorum.
    burnt
        What honest nodes lost of their stakes.
    cost
        What the coalition lost: fees that others got, what was burnt of fees, and its own stakes.
    error
        The standard error of `burnt` - `cost`.
    """

    groups: int
    quorums: float
    burnt: float
    cost: float
    error: float

    @property
    def ratio(self) -> float:
        """How much is burnt for each unit that it costs."""
        return self.burnt / self.cost if self.cost else float("inf") if self.burnt else 0.0


def prices(nodes: Nodes, size: int, fee: int, policy: Policy, order: Places) -> Iterator[tuple[Way, Price]]:
    """Price every way to behave in the same groups.

    Parameters
    ----------
    nodes
        Who can be drawn; a node of weight 1 has `STAKE`.
    size, fee, policy
        Of every group.
    order
        Of `orders`: the first `size` of each row are a group.
    """
    places = order[:, :size]
    mine = places < nodes.coalition
    held = mine.sum(axis=1)
    stakes = nodes.weights[places] * STAKE
    for way in WAYS:
        burnt, cost = settled(mine, stakes, way, fee, policy)
        share = fee // size
        difference = (burnt - cost) / share
        yield (
            way,
            Price(
                groups=len(order),
                quorums=float((held > size // 2).mean()),
                burnt=float(burnt.mean() / share),
                cost=float(cost.mean() / share),
                error=float(difference.std() / len(order) ** 0.5),
            ),
        )


def settled(
    mine: np.ndarray[tuple[int, ...], np.dtype[np.bool_]], stakes: Ints, way: Way, fee: int, policy: Policy
) -> tuple[Ints, Ints]:
    """Return what each group burns of honest stakes, and what it costs the coalition.

    Parameters
    ----------
    mine
        bool of shape (groups, members): which are the coalition's.
    stakes
        int64 of the same shape.
    """
    quorum = 2 * mine.sum(axis=1, keepdims=True) > mine.shape[1]
    honest = Did.HONEST if way.agreeable else Did.ALONE
    did = np.where(mine, np.where(quorum, way.quorum, way.otherwise), honest)
    money = settle_many(did, stakes, fee, policy)
    burnt = np.where(mine, 0, money.slashed).sum(axis=1)
    cost = np.where(mine, money.slashed, money.paid).sum(axis=1) + money.burnt
    return burnt, cost
