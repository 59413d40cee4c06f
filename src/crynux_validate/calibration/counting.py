"""Distances of all pairs, counted: honest answers among kinds, cheats beside them, unrelated pictures among themselves.

What is kept are counts of distances by picture, or by block of pictures, so that memory grows with the pictures and
never with the pairs.
"""

import hashlib
import io
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from os import PathLike
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from crynux_validate.algorithms import HASH_BITS
from crynux_validate.calibration.intervals import Floats, Integers, blocks_of
from crynux_validate.calibration.table import PLAIN, Classes, Table
from crynux_validate.encoding import shorten
from crynux_validate.errors import InvalidInputError
from crynux_validate.files import write_whole
from crynux_validate.judging.bulk import Hashes, is_telling

DISTANCES: Final = HASH_BITS + 1
"""How many different distances there are, 0 to 64."""

_OWN: Final = DISTANCES
"""Stands where a distance would be, for rows of the same picture."""

_KEPT: Final = ("distances", "telling", "classes", "nearest")
"""What a state keeps."""

_HEADERS: Final = 65_536
"""More bytes than a state has beside its arrays."""

OnProgress: TypeAlias = Callable[[int, int], None]
"""Called with how many pairs are done, and of how many."""

_ROWS_AT_ONCE: Final = 2**14
_SECONDS: Final = 5.0
"""How often the state is written and progress is told."""


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


@dataclass(frozen=True, eq=False)
class PairCounts:
    """How often two unrelated pictures were so far apart, each pair counted for both of its pictures.

    Parameters
    ----------
    distances, telling
        int64 of shape (blocks of pictures, 65), as of `Counts`, unweighted.
    classes
        int64 of shape (5, 65): each pair once.
    nearest
        int64 of shape (66,): for each distance how many pictures have another one at it, and none nearer; the last
        place is for pictures that were compared with none.
    pairs
        How many pairs were compared.
    pictures
        How many pictures there are.
    pairs_of_pictures
        The effective number of pairs of pictures: as many of pictures of one size scatter as much.
    """

    distances: Integers
    telling: Integers
    classes: Integers
    nearest: Integers
    pairs: int
    pictures: int
    pairs_of_pictures: int


def count_unrelated(
    hashes: Hashes,
    picture: Integers,
    classes: Classes | None = None,
    *,
    safety_checker: bool = True,
    seed: int = 0,
    state: str | PathLike[str] | None = None,
    on_progress: OnProgress | None = None,
) -> PairCounts:
    """Compare every two rows that are of different pictures.

    Parameters
    ----------
    hashes
        uint64 of shape (rows, images).
    picture
        Integers of shape (rows,): which picture each is a part of.
    classes
        As of `classes_of`; left out, none is left out.
    safety_checker
        Whether a slash takes two hashes that are not degenerate, or one.
    seed
        Of the blocks.
    state
        A file that keeps what was counted, every few seconds. Where it is there, counting goes on from it.
    on_progress
        Called every few seconds, and at the end.

    Raises
    ------
    InvalidInputError
        For fewer than two pictures, and a state of other samples or one that is no state.
    OSError
        Where the state cannot be written.
    """
    marks = np.zeros(len(hashes), np.uint8) if classes is None else classes
    names, number, sizes = np.unique(picture, return_inverse=True, return_counts=True)
    if len(names) < 2:
        raise InvalidInputError(f"unrelated samples are of {len(names)} picture; pairs take at least two pictures")
    order = np.argsort(marks, kind="stable")
    work = _Work(hashes[order], number[order], marks[order], safety_checker, seed)
    file = None if state is None else Path(state)
    if file is not None and file.exists():
        work.resume(file)
    elif file is not None:
        work.keep(file)  # before the work, not after it
    total, told = len(hashes) * len(hashes) // 2, time.monotonic()
    for row in range(work.done, len(hashes)):
        work.count(row)
        if time.monotonic() - told > _SECONDS:
            told = time.monotonic()
            if file is not None:
                work.keep(file)
            if on_progress is not None:
                on_progress(work.done * len(hashes) // 2, total)
    if file is not None:
        work.keep(file)
    if on_progress is not None:
        on_progress(total, total)
    size = sizes.astype(np.float64)
    of_one, of_two, of_four = size.sum(), (size**2).sum(), (size**4).sum()
    return PairCounts(
        work.distances,
        work.telling,
        work.classes // 2,
        np.bincount(work.nearest, minlength=DISTANCES + 1),
        int(work.distances.sum()) // 2,
        len(names),
        max(1, int((of_one**2 - of_two) ** 2 / 2 / (of_two**2 - of_four) + 1e-9)),
    )


class _Work:
    """What has been counted of unrelated pairs, row by row. Every pair is counted twice, once from each side."""

    def __init__(self, hashes: Hashes, picture: Integers, marks: Classes, safety_checker: bool, seed: int) -> None:
        self.hashes = np.ascontiguousarray(hashes.T)
        self.tells = is_telling(self.hashes)
        self.picture = picture
        self.marks = marks
        self.ends = np.searchsorted(marks, np.arange(PLAIN + 2))
        self.safety_checker = safety_checker
        self.block = blocks_of(int(picture.max()) + 1, seed)[picture]
        blocks = int(self.block.max()) + 1
        by_picture = np.argsort(picture, kind="stable")
        self.own = np.split(by_picture, np.cumsum(np.bincount(picture))[:-1])
        self.done = 0
        self.distances = np.zeros((blocks, DISTANCES), np.int64)
        self.telling = np.zeros((blocks, DISTANCES), np.int64)
        self.classes = np.zeros((PLAIN + 1, DISTANCES), np.int64)
        self.nearest = np.full(int(picture.max()) + 1, _OWN, np.uint8)
        parts = (self.hashes, picture, marks, self.block, np.array([safety_checker]))
        self.name = hashlib.sha256(b"".join(part.tobytes() for part in parts)).digest()

    def count(self, row: int) -> None:
        """Compare one row with all others that are of other pictures."""
        apart, far = self._apart(row)
        own = self.own[self.picture[row]]
        apart[own] = far[own] = _OWN
        mark, block = self.marks[row], self.block[row]
        for other in range(PLAIN + 1):
            found = np.bincount(apart[self.ends[other] : self.ends[other + 1]], minlength=_OWN + 1)[:_OWN]
            self.classes[max(mark, other)] += found
            self.distances[block] += found
        self.telling[block] += np.bincount(far, minlength=_OWN + 1)[:_OWN]
        self.nearest[self.picture[row]] = min(self.nearest[self.picture[row]], apart.min())
        self.done = row + 1

    def _apart(self, row: int) -> tuple[Classes, Classes]:
        """The similarity score, and the distance that can slash, of one row and all rows."""
        apart = far = np.zeros(0, np.uint8)
        for image, hashes in enumerate(self.hashes):
            distance = np.bitwise_count(hashes ^ hashes[row])
            tells = self.tells[image, row]
            if tells != self.safety_checker:  # one that tells is enough, and it does; or both must, and it does not
                telling = distance.copy() if tells else np.zeros_like(distance)
            else:
                telling = distance * self.tells[image]
            apart = np.maximum(apart, distance) if image else distance
            far = np.maximum(far, telling) if image else telling
        return apart, far

    def keep(self, file: Path) -> None:
        """Write what was counted."""
        content = io.BytesIO()
        np.savez(
            content,
            name=np.frombuffer(self.name, np.uint8),
            done=np.array(self.done),
            **{column: getattr(self, column) for column in _KEPT},
        )
        write_whole(file, content.getvalue())

    def resume(self, file: Path) -> None:
        """Take over what was counted."""
        most = sum(getattr(self, column).nbytes for column in _KEPT) + _HEADERS
        try:
            with file.open("rb") as stream:
                content = stream.read(most + 1)
            if len(content) > most:
                raise ValueError("it is too large")
            with zipfile.ZipFile(io.BytesIO(content)) as parts:
                found = {name: _array(parts, name) for name in ("name", "done", *_KEPT)}
        except (OSError, ValueError, LookupError, EOFError, zipfile.BadZipFile, RuntimeError) as error:
            raise InvalidInputError(
                f"{shorten(str(file))} is no state of a calibration: {shorten(str(error))}; delete it, or name another"
                " file"
            ) from error
        if found["name"].tobytes() != self.name:
            raise InvalidInputError(
                f"{shorten(str(file))} is the state of a calibration of other samples; delete it, or name another file"
            )
        if not self._holds(found):
            raise InvalidInputError(f"{shorten(str(file))} is damaged: its counts do not add up; delete it")
        self.done = int(found["done"])
        for column in _KEPT:
            setattr(self, column, found[column])

    def _holds(self, found: dict[str, npt.NDArray[Any]]) -> bool:
        """Whether counts are those of as many pairs as so many rows have."""
        for name, own in (("done", np.array(0)), *((column, getattr(self, column)) for column in _KEPT)):
            if (found[name].shape, found[name].dtype) != (own.shape, own.dtype) or found[name].min(initial=0) < 0:
                return False
        done = int(found["done"])
        if done > len(self.picture) or found["nearest"].max() > _OWN:
            return False
        sizes = np.bincount(self.picture)
        pairs = int((len(self.picture) - sizes[self.picture[:done]]).sum())
        return all(int(found[column].sum()) == pairs for column in ("distances", "telling", "classes"))


def _array(parts: zipfile.ZipFile, name: str) -> npt.NDArray[Any]:
    """Read an array of a state, which is stored as it is."""
    part = parts.getinfo(f"{name}.npy")
    if part.compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"{name} is compressed")
    content = parts.read(part)
    found: npt.NDArray[Any] = np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)
    return found


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
