"""Groups drawn from the data and judged by the library's own rule: what becomes of their members at every threshold."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from crynux_validate.calibration.intervals import Clustering, Floats, Integers, blocks_of
from crynux_validate.calibration.rates import slash_place
from crynux_validate.calibration.table import Table
from crynux_validate.judging.bulk import Bools, Hashes, judge_thresholds

MOST_PER_PICTURE: Final = 64
"""More groups of one picture say nothing more about pictures."""


@dataclass(frozen=True, eq=False)
class Drawn:
    """Groups.

    Parameters
    ----------
    hashes
        uint64 of shape (groups, members, images).
    judged
        Which members it is about: the first so many.
    clusters
        For each name of a clustering, for each group the numbers of its clusters: integers of shape (groups, clusters),
        with -1 for none. Each group counts once, divided among its clusters. The first is by picture, all of them with
        the same number of groups.
    pictures
        How many there are, for the exact bound. Of unrelated pictures beside those of tasks the smaller number: where
        all of one side are alike, only the other one says something.
    """

    hashes: Hashes
    judged: int
    clusters: dict[str, Integers]
    pictures: int


def honest_groups(table: Table, size: int, groups: int, rng: np.random.Generator) -> Drawn:
    """Draw groups of honest kinds of machines, of distinct ones as far as there are so many."""
    task = _draw_tasks(table.picture, table.present.sum(axis=1) >= 2, groups, rng)
    kinds = _draw_kinds(table.present[task], size, rng)
    number = np.full((len(table.kinds), len(table.kinds)), -1, np.int64)
    for at, (a, b) in enumerate(combinations(range(len(table.kinds)), 2)):
        number[a, b] = number[b, a] = at
    pairs = np.stack([number[kinds[:, a], kinds[:, b]] for a, b in combinations(range(size), 2)], axis=1)
    clusters = {"picture": table.picture[task][:, None], "pair of kinds": pairs}
    return Drawn(table.hashes[task[:, None], kinds], size, clusters, len(np.unique(table.picture[task])))


def cheat_groups(
    table: Table, hashes: Hashes, task: Integers, accomplices: int, size: int, groups: int, rng: np.random.Generator
) -> Drawn:
    """Draw groups in which so many members hand in a cheat's answer to the task, and all others are honest.

    `hashes` are the cheat's answers, of shape (rows, images), and `task` is each one's row in the table.
    """
    row = _draw_tasks(table.picture[task], np.ones(len(task), np.bool_), groups, rng)
    where = task[row]
    kinds = _draw_kinds(table.present[where], size - accomplices, rng)
    members = _beside(hashes[row], table.hashes[where[:, None], kinds], accomplices)
    clusters = {"picture": table.picture[where][:, None]}
    return Drawn(members, 1, clusters, len(np.unique(table.picture[where])))


def unrelated_groups(
    table: Table, hashes: Hashes, picture: Integers, accomplices: int, size: int, groups: int, rng: np.random.Generator
) -> Drawn:
    """Draw groups in which so many members hand in the same unrelated picture, and all others are honest.

    `hashes` are the unrelated pictures, of shape (rows, images); `picture` says which of them are parts of one, as
    numbers from 0 on without gaps.
    """
    where = _draw_tasks(table.picture, np.logical_or.reduce(table.present, axis=1), groups, rng)
    kinds = _draw_kinds(table.present[where], size - accomplices, rng)
    order = np.argsort(picture, kind="stable")
    sizes = np.bincount(picture)
    chosen = rng.integers(0, len(sizes), len(where))
    row = order[(np.cumsum(sizes) - sizes)[chosen] + rng.integers(0, sizes[chosen])]
    members = _beside(hashes[row], table.hashes[where[:, None], kinds], accomplices)
    ids = table.picture[where]
    pictures = min(len(np.unique(ids)), len(np.unique(chosen)))
    clusters = {"picture": ids[:, None], "other picture": chosen[:, None]}
    return Drawn(members, 1, clusters, pictures)


def judged(
    drawn: Drawn, thresholds: Sequence[int], *, honest: bool, safety_checker: bool, seed: int
) -> tuple[dict[str, Clustering], dict[str, Clustering]]:
    """Judge groups at every threshold; returns two rates of events, each by every clustering.

    First, at each threshold: of honest groups whether some member is not ``VALID``, of a cheat whether it is. Second,
    at each threshold and each slash threshold from there on (`slash_place`): whether some member that it is about is
    ``INVALID``.
    """
    steps = np.array(thresholds)
    count = len(steps)
    homes = {name: _Home(ids, seed) for name, ids in drawn.clusters.items()}
    passing = {name: np.zeros((home.blocks, count)) for name, home in homes.items()}
    slash = {name: np.zeros((home.blocks, slash_place(count, count, count))) for name, home in homes.items()}
    for at, (_, valid, slashed_to) in enumerate(
        judge_thresholds(drawn.hashes, thresholds, safety_checker=safety_checker)
    ):
        about = slice(None, drawn.judged)
        event: Bools = ~np.logical_and.reduce(valid, axis=1) if honest else valid[:, 0]
        reached = np.searchsorted(steps, slashed_to[:, about].max(axis=1), side="right")  # so many slash thresholds
        place = slash_place(count, at, at)
        for name, home in homes.items():
            passing[name][:, at] = home.sums(event)
            by_reach = home.table(reached, count + 1)
            slash[name][:, place : place + count - at] = by_reach[:, ::-1].cumsum(axis=1)[:, ::-1][:, at + 1 :]
    weights = {name: home.sums(np.ones(len(drawn.hashes), np.bool_)) for name, home in homes.items()}
    of_passing, of_slash = (
        {name: Clustering(found[name], weights[name], home.order) for name, home in homes.items()}
        for found in (passing, slash)
    )
    return of_passing, of_slash


class _Home:
    """In which block each group lies, and with which weight."""

    def __init__(self, ids: Integers, seed: int) -> None:
        there = ids >= 0
        names, number = np.unique(ids[there], return_inverse=True)
        self.blocks = 0
        block = blocks_of(len(names), seed)
        self.blocks = int(block.max(initial=0)) + 1
        self.group = np.nonzero(there)[0]
        self.block = block[number]
        self.weight = (1 / there.sum(axis=1))[self.group]
        self.order = ids.shape[1]

    def sums(self, event: npt.NDArray[Any]) -> Floats:
        """Add up an event by block."""
        return np.bincount(self.block, self.weight * event[self.group], self.blocks).astype(np.float64)

    def table(self, place: Integers, places: int) -> Floats:
        """Count places by block: of shape (blocks, places)."""
        at = self.block * places + place[self.group]
        return np.bincount(at, self.weight, self.blocks * places).reshape(self.blocks, places).astype(np.float64)


def _draw_tasks(picture: Integers, usable: Bools, groups: int, rng: np.random.Generator) -> Integers:
    """Draw rows, the same number of each picture that has a usable one."""
    rows = np.flatnonzero(usable)
    if not len(rows):
        return rows
    order = rows[np.argsort(picture[rows], kind="stable")]
    _, start, count = np.unique(picture[order], return_index=True, return_counts=True)
    each = min(MOST_PER_PICTURE, max(1, groups // len(start)))
    start, count = np.repeat(start, each), np.repeat(count, each)
    chosen: Integers = order[start + rng.integers(0, count)]
    return chosen


def _draw_kinds(present: Bools, size: int, rng: np.random.Generator) -> Integers:
    """Draw kinds that gave an answer: integers of shape (groups, size), distinct as far as there are so many."""
    keys = rng.random(present.shape, np.float32)
    keys[~present] = 2
    order = np.argsort(keys, axis=1)
    place = np.arange(size)[None, :] % present.sum(axis=1)[:, None]
    kinds: Integers = np.take_along_axis(order, place, axis=1).astype(np.int64)
    return kinds


def _beside(cheat: Hashes, honest: Hashes, accomplices: int) -> Hashes:
    return np.concatenate([np.repeat(cheat[:, None], accomplices, axis=1), honest], axis=1)
