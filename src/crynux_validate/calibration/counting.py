"""Distances of all pairs, counted: honest answers among kinds, and cheats beside them.

What is kept are counts of distances by picture, or by block of pictures, so that memory grows with the pictures and
never with the pairs.
"""

from dataclasses import dataclass
from itertools import combinations
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from crynux_validate.algorithms import HASH_BITS
from crynux_validate.calibration.intervals import Floats, Integers, blocks_of
from crynux_validate.calibration.table import PLAIN, Classes, Table
from crynux_validate.judging.bulk import Hashes, is_telling

DISTANCES: Final = HASH_BITS + 1
"""How many different distances there are, 0 to 64."""

_ROWS_AT_ONCE: Final = 2**14


@dataclass(frozen=True, eq=False)
class Counts:
    """How often pairs were so far apart.

    Parameters
    ----------
    distances, telling
        float64 of shape (blocks of pictures, 65): for each similarity score (A3) and for each distance that can slash
        (J2 b; 0 where none can) the pairs, each weighted so that every picture has the weight 1.
    weights
        float64 of shape (blocks,): what they sum up to.
    pictures
        How many pictures have a pair.
    classes
        int64 of shape (5, 65): similarity scores by which rule would leave the pair out, each pair counted as one.
    """

    distances: Floats
    telling: Floats
    weights: Floats
    pictures: int
    classes: Integers


@dataclass(frozen=True, eq=False)
class HonestCounts(Counts):
    """Also by pair of kinds: `by_pair` and `telling_by_pair` of shape (pairs of kinds, 65)."""

    by_pair: Floats
    telling_by_pair: Floats


def count_honest(table: Table, *, safety_checker: bool, seed: int) -> HonestCounts:
    """Compare the answers of every two kinds of machines to each task."""
    answers = table.present.sum(axis=1)
    weight, block, pictures, blocks = _weights(table.picture, answers * (answers - 1) // 2, seed)
    tells = is_telling(table.hashes)
    pairs = list(combinations(range(len(table.kinds)), 2))
    found = _empty(blocks), _empty(blocks), _empty(len(pairs)), _empty(len(pairs))
    classes = np.zeros((PLAIN + 1, DISTANCES), np.int64)
    for at, (a, b) in enumerate(pairs):
        rows = np.flatnonzero(table.present[:, a] & table.present[:, b])
        apart = np.bitwise_count(table.hashes[rows, a] ^ table.hashes[rows, b])
        both = tells[rows, a] & tells[rows, b] if safety_checker else tells[rows, a] | tells[rows, b]
        far = (apart * both).max(axis=1)
        apart = apart.max(axis=1)
        for of_picture, of_pair, distance in ((found[0], found[2], apart), (found[1], found[3], far)):
            of_picture += _by(block[rows], distance, weight[rows], blocks)
            of_pair[at] = np.bincount(distance, weight[rows], DISTANCES)
        classes += _by(np.maximum(table.classes[rows, a], table.classes[rows, b]), apart, None, PLAIN + 1)
    return HonestCounts(found[0], found[1], found[0].sum(axis=1), pictures, classes, found[2], found[3])


def count_cheat(table: Table, hashes: Hashes, task: Integers, *, safety_checker: bool, seed: int) -> Counts:
    """Compare a cheat's answers, uint64 of shape (rows, images), with every honest answer to the same task.

    `task` is each answer's row in the table.
    """
    kinds = table.present[task].sum(axis=1)
    weight, block, pictures, blocks = _weights(table.picture[task], kinds, seed)
    distances, telling = _empty(blocks), _empty(blocks)
    classes = np.zeros((PLAIN + 1, DISTANCES), np.int64)
    for start in range(0, len(task), _ROWS_AT_ONCE):
        part = slice(start, start + _ROWS_AT_ONCE)
        honest = table.hashes[task[part]]
        there = table.present[task[part]]
        apart = np.bitwise_count(hashes[part][:, None] ^ honest)
        tells = is_telling(honest)
        if safety_checker:
            tells &= is_telling(hashes[part])[:, None]
        far, apart = (apart * tells).max(axis=2)[there], apart.max(axis=2)[there]
        where = np.broadcast_to(block[part][:, None], there.shape)[there]
        share = np.broadcast_to(weight[part][:, None], there.shape)[there]
        distances += _by(where, apart, share, blocks)
        telling += _by(where, far, share, blocks)
        classes[0] += np.bincount(apart, minlength=DISTANCES)
    return Counts(distances, telling, distances.sum(axis=1), pictures, classes)


def _empty(rows: int) -> Floats:
    return np.zeros((rows, DISTANCES))


def _by(place: npt.NDArray[np.integer], distance: Classes, weights: Floats | None, places: int) -> npt.NDArray[Any]:
    """Count distances by place: of shape (places, 65)."""
    return np.bincount(place.astype(np.int64) * DISTANCES + distance, weights, places * DISTANCES).reshape(places, -1)


def _weights(picture: Integers, pairs: Integers, seed: int) -> tuple[Floats, Integers, int, int]:
    """Return what each pair of a row weighs, each row's block, and the numbers of pictures and of blocks.

    Every picture weighs 1; those without pairs are not counted.
    """
    of_picture = np.bincount(picture, pairs)
    used = of_picture > 0
    number = np.cumsum(used) - 1
    pictures = int(used.sum())
    block = blocks_of(pictures, seed)
    weight = np.divide(1.0, of_picture, where=used, out=np.zeros(len(used)))
    return (
        weight[picture],
        np.where(used[picture], block[number[picture]] if pictures else 0, 0),
        pictures,
        min(pictures, int(block.max(initial=0)) + 1),
    )
