"""Pools, and draws of many groups from them."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

AT_ONCE: Final = 4_000_000
"""How many keys are drawn at a time: they fit the memory of a small machine."""

Places = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Nodes:
    """Nodes of as many owners, the coalition's first.

    Parameters
    ----------
    coalition, honest
        How many there are.
    coalition_weight, honest_weight
        Of each.
    """

    coalition: int
    honest: int
    coalition_weight: int = 1
    honest_weight: int = 1

    @property
    def weights(self) -> npt.NDArray[np.int64]:
        """int64 of shape (nodes,)."""
        return np.repeat([self.coalition_weight, self.honest_weight], [self.coalition, self.honest])

    @property
    def share(self) -> float:
        """The part of all the weight that the coalition has."""
        mine = self.coalition * self.coalition_weight
        return mine / (mine + self.honest * self.honest_weight)


def orders(nodes: Nodes, count: int, length: int, rng: np.random.Generator) -> Places:
    """Draw nodes one after the other, weighted, without replacement, `count` times.

    The least of independent exponential times with the weights as rates is a weighted choice, and so is the next of
    those that remain.

    Returns
    -------
    int64 of shape (count, length)
        Places in `Nodes.weights`, first drawn first. Groups that one queue draws without a pause are consecutive parts.
    """
    weights = nodes.weights
    found = np.empty((count, length), np.int64)
    step = max(1, AT_ONCE // len(weights))
    for start in range(0, count, step):
        times = rng.standard_exponential((min(step, count - start), len(weights))) / weights
        if length < len(weights):
            first = np.argpartition(times, length, axis=1)[:, :length]
        else:
            first = np.broadcast_to(np.arange(length), times.shape)
        order = np.argsort(np.take_along_axis(times, first, 1), axis=1)
        found[start : start + step] = np.take_along_axis(first, order, 1)
    return found
