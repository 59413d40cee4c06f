"""Groups that wait in one queue: does a group that is drawn after others favour the coalition?

Each draw takes members out of the pools of all groups that wait (P4c), and heavy nodes are taken sooner. So nodes that
are lighter than others have a larger part of what is left. `min_pool_ppm` bounds how far that goes (P4d).
"""

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from benchmarks.prices.alone import STAKE, Way, settled
from benchmarks.prices.money import PPM, Did
from benchmarks.prices.pools import Nodes, Places, orders
from crynux_validate import Policy

POOLS: Final = {
    "equal": Nodes(100, 900),
    "coalition's nodes lighter, 1:4": Nodes(100, 225, 1, 4),
    "coalition's nodes heavier, 4:1": Nodes(25, 900, 4, 1),
    "few nodes, equal": Nodes(10, 90),
    "few nodes, coalition's lighter, 1:4": Nodes(40, 90, 1, 4),
    "few nodes, coalition's heavier, 4:1": Nodes(8, 288, 4, 1),
}
"""A tenth of the weight is the coalition's; each pool has room for 20 groups of three."""

DEAR: Final = 1_000
"""What a dear group costs, in multiples of the least fee."""

CHEAPEST: Final = Way(agreeable=False, quorum=Did.CHEAT, otherwise=Did.FAILED)
"""Tasks on which honest nodes cannot agree: where the coalition is no quorum, only a part of the fee is burnt."""

THRESHOLDS: Final = tuple(at / 100 for at in range(0, 60, 2))
"""At which share of the weight that is free the coalition begins to open dear groups."""

Floats = npt.NDArray[np.float64]


def free_weight(nodes: Nodes, order: Places, size: int) -> tuple[Floats, Floats]:
    """Return what is free before each group of a queue, and the coalition's part of that.

    Returns
    -------
    free, share
        float64 of shape (rows, groups): free weight as a part of all weight; the coalition's part of the free weight.
    """
    rows, length = order.shape
    taken = nodes.weights[order].reshape(rows, length // size, size).sum(axis=2)
    mine = np.where(order < nodes.coalition, nodes.coalition_weight, 0).reshape(rows, length // size, size).sum(axis=2)
    total = int(nodes.weights.sum())
    left = total - (taken.cumsum(axis=1) - taken)
    left_mine = nodes.coalition * nodes.coalition_weight - (mine.cumsum(axis=1) - mine)
    return left / total, left_mine / left


def in_one_round(nodes: Nodes, size: int, groups: int, count: int, rng: np.random.Generator) -> dict[str, Any]:
    """Compare groups that are opened in the same round with one that is drawn alone, from the same pool."""
    order = orders(nodes, count, groups * size, rng)
    held = (order < nodes.coalition).reshape(count, groups, size).sum(axis=2) > size // 2
    alone = (orders(nodes, count * 4, size, rng) < nodes.coalition).sum(axis=1) > size // 2
    share = held.mean(axis=1)  # of a round; its groups depend on one another
    spread = share.std() / count**0.5
    alone_spread = alone.std() / len(alone) ** 0.5
    return {
        "size": size,
        "groups": groups,
        "rounds": count,
        "alone": float(alone.mean()),
        "together": float(share.mean()),
        "last": float(held[:, -1].mean()),
        "sigma": float((share.mean() - alone.mean()) / (spread**2 + alone_spread**2) ** 0.5),
    }


def at_a_chosen_moment(nodes: Nodes, policy: Policy, count: int, rng: np.random.Generator) -> Iterator[dict[str, Any]]:
    """Price a coalition that opens groups with the least fee until it likes what is free, and dear ones from then on.

    All nodes that were drawn stay busy. Groups are opened for as long as the policy's share of the weight is free.
    """
    size = policy.group_size
    order = orders(nodes, count, len(nodes.weights) // size * size, rng)
    free, share = free_weight(nodes, order, size)
    opened = free * PPM >= policy.min_pool_ppm
    groups = order.reshape(-1, size)
    mine, stakes = groups < nodes.coalition, nodes.weights[groups] * STAKE
    share_of_fee = DEAR * policy.least_fee // size
    burnt_and_cost = []
    for fee in (policy.least_fee, DEAR * policy.least_fee):
        money = settled(mine, stakes, CHEAPEST, fee, policy)
        burnt_and_cost.append([one.reshape(opened.shape) for one in money])
    for threshold in THRESHOLDS:
        dear = np.logical_or.accumulate(share >= threshold, axis=1)
        burnt, cost = (
            np.where(opened, np.where(dear, dears, leasts), 0).sum(axis=1)
            for leasts, dears in zip(*burnt_and_cost, strict=True)
        )
        difference = burnt - cost
        yield {
            "size": size,
            "min_pool_ppm": policy.min_pool_ppm,
            "no_quorum_ppm": policy.no_quorum_ppm,
            "slash_per_fee": policy.slash_per_fee,
            "threshold": threshold,
            "rounds": count,
            "used": float((dear & opened).any(axis=1).mean()),
            "burnt": float(burnt.mean() / share_of_fee),
            "cost": float(cost.mean() / share_of_fee),
            "error": float(difference.std() / count**0.5 / share_of_fee),
        }
