"""Distances of all pairs of unrelated pictures, counted; what was counted can be kept, and goes on after a kill."""

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from crynux_validate.calibration.counting import DISTANCES
from crynux_validate.calibration.intervals import Integers, blocks_of
from crynux_validate.calibration.table import PLAIN, Classes
from crynux_validate.encoding import shorten
from crynux_validate.errors import InvalidInputError
from crynux_validate.files import read_limited, write_whole
from crynux_validate.judging.bulk import Hashes, is_telling

OnProgress: TypeAlias = Callable[[int, int], None]
"""Called with how many pairs are done, and of how many."""

_OWN: Final = DISTANCES
"""Stands where a distance would be, for rows of the same picture."""

_SECONDS: Final = 5.0
"""How often the state is written and progress is told."""


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
    safety_checker, seed, state, on_progress
        As of `calibrate`.

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

    def _arrays(self) -> list[npt.NDArray[Any]]:
        return [self.distances, self.telling, self.classes, self.nearest]

    def keep(self, file: Path) -> None:
        """Write what was counted: a digest of it and of what is counted, the number of rows, four arrays."""
        counted = b"".join([self.done.to_bytes(8, "big"), *(array.tobytes() for array in self._arrays())])
        write_whole(file, hashlib.sha256(self.name + counted).digest() + counted)

    def resume(self, file: Path) -> None:
        """Take over what was counted."""
        content = read_limited(file, 40 + sum(array.nbytes for array in self._arrays()))
        check, counted = content[:32], content[32:]
        if check != hashlib.sha256(self.name + counted).digest():
            raise InvalidInputError(
                f"{shorten(str(file))} is no whole state of a calibration of these samples; delete it, or name another"
                " file"
            )
        self.done, start = int.from_bytes(counted[:8], "big"), 8
        for array in self._arrays():
            array[...] = np.frombuffer(counted, array.dtype, array.size, start).reshape(array.shape)
            start += array.nbytes
