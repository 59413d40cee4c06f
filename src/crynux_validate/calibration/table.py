"""Honest answers as a table: which kind of machine answered what, which kinds are one, which pictures are one."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from crynux_validate.calibration.columns import linked
from crynux_validate.calibration.intervals import Integers
from crynux_validate.calibration.samples import Samples
from crynux_validate.errors import InvalidInputError, needed_for
from crynux_validate.judging.bulk import Bools, Hashes

Classes: TypeAlias = npt.NDArray[np.uint8]

MARGIN_SHARES: Final = (0.01, 0.05, 0.10)
"""Rules on margins are tried that leave out these shares of the answers."""

PLAIN: Final = len(MARGIN_SHARES) + 1
"""The class of answers with a degenerate hash, which is left out first; 0 is never left out."""


@dataclass(frozen=True, eq=False)
class Table:
    """The honest answers.

    Parameters
    ----------
    hashes
        uint64 of shape (tasks, kinds, images); 0 where there is no answer.
    present
        bool of shape (tasks, kinds): where there is one.
    classes
        uint8 of shape (tasks, kinds): which rules would leave the answer out (`classes_of`).
    picture
        For each task the number of its picture. Tasks whose answers are the same picture share one.
    places
        For each model and task its row.
    kinds
        The names of the kinds.
    merged
        For some of them the kinds that gave equal pixels, by model where that makes a difference.
    warnings
        What could not be told.
    """

    hashes: Hashes
    present: Bools
    classes: Classes
    picture: Integers
    places: Mapping[tuple[str | None, str | None], int]
    kinds: tuple[str, ...]
    merged: Mapping[str, tuple[str, ...]]
    warnings: tuple[str, ...]

    @classmethod
    def of(cls, honest: Samples, classes: Classes) -> "Table":
        """Put honest answers into a table.

        Raises
        ------
        InvalidInputError
            Where there are fewer than two kinds of machines, all give equal pixels, or no two answered the same task.
        """
        if len(honest.kinds.names) < 2:
            found = honest.kinds.names[0] if len(honest) else "none"
            raise InvalidInputError(
                f"honest answers are of one kind of machine only ({found}); a calibration compares kinds: measure at"
                " least two"
                if len(honest)
                else "there are no honest answers; a calibration needs those of at least two kinds of machines"
            )
        keys = honest.models.codes.astype(np.int64) * len(honest.tasks.names) + honest.tasks.codes
        known, row = np.unique(keys, return_inverse=True)
        shape = len(known), len(honest.kinds.names)
        place = row, honest.kinds.codes
        hashes = np.zeros((*shape, honest.images), np.uint64)
        present, marks = np.zeros(shape, np.bool_), np.zeros(shape, np.uint8)
        pixels = np.full(shape, -1, np.int64)
        hashes[place], present[place], marks[place], pixels[place] = honest.hashes, True, classes, honest.pixels.codes
        model, task = np.divmod(known, len(honest.tasks.names))
        merged: dict[str, tuple[str, ...]] = {}
        for number, name in enumerate(honest.models.names):
            rows = np.flatnonzero(model == number)
            for first, others in _equal_kinds(present[rows], pixels[rows], hashes[rows]).items():
                _move(rows, first, others, hashes, present, marks, pixels)
                key = honest.kinds.names[first] + (f" ({name})" if len(honest.models.names) > 1 else "")
                merged[key] = tuple(honest.kinds.names[one] for one in others)
        left: Bools = np.logical_or.reduce(present, axis=0)
        if left.sum() < 2:
            raise InvalidInputError(
                f"all kinds gave equal pixels on every task ({', '.join(honest.kinds.names[:5])}): they are one kind;"
                " measure another one"
            )
        hashes, present, marks, pixels = hashes[:, left], present[:, left], marks[:, left], pixels[:, left]
        if present.sum(axis=1).max() < 2:
            raise InvalidInputError(
                "no task was answered by two kinds of machines; a calibration compares answers to the same task"
            )
        picture = _pictures(hashes, present, pixels)
        kinds = tuple(name for name, there in zip(honest.kinds.names, left, strict=True) if there)
        places: dict[tuple[str | None, str | None], int] = {
            (honest.models.names[a], honest.tasks.names[b]): at
            for at, (a, b) in enumerate(zip(model, task, strict=True))
        }
        warnings = _warnings(kinds, hashes, present, pixels, picture)
        return cls(hashes, present, marks, picture, places, kinds, merged, warnings)

    def rows_of(self, answers: Samples) -> Integers:
        """Return the row of each answer's task, -1 where no honest machine answered it."""
        keys = zip(answers.models.list(), answers.tasks.list(), strict=True)
        return np.array([self.places.get(key, -1) for key in keys], np.int64)


def classes_of(samples: Samples, cuts: tuple[float, ...]) -> Classes:
    """Return which rules would leave each answer out.

    Parameters
    ----------
    samples
        Some samples.
    cuts
        Margins, ascending. A rule on margins leaves out what a lower one does, and what is degenerate.

    Returns
    -------
    numpy.ndarray
        uint8 of shape (rows,): `PLAIN` where a hash is degenerate; otherwise how many of the cuts the margin is below,
        so that 0 is never left out. An answer whose margin is not known is below none.
    """
    below = np.zeros(len(samples), np.uint8)
    for cut in cuts:
        below += samples.margins < cut  # False for NaN
    below[samples.degenerate] = PLAIN
    return below


def margin_cuts(samples: Samples) -> tuple[float, ...]:
    """Return the margins below which `MARGIN_SHARES` of the answers lie; none where no margin is known."""
    known = samples.margins[~np.isnan(samples.margins)]
    return tuple(float(cut) for cut in np.quantile(known, MARGIN_SHARES)) if len(known) else ()


def components(nodes: int, left: Integers, right: Integers) -> Integers:
    """Number what hangs together: for each of `nodes` the number of its component, from 0 on without gaps."""
    with needed_for("calibrate", "calibration"):
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

    links = coo_array((np.ones(len(left), np.int8), (left, right)), shape=(nodes, nodes))
    found: Integers = connected_components(links, directed=False)[1].astype(np.int64)
    return found


def pictures_of(samples: Samples, *, by_hash: bool = False) -> Integers:
    """Number the pictures of unrelated samples: rows of one task, and rows with equal pixels, are one picture.

    With `by_hash` also rows with equal hashes where the pixels of one are not known. That is right for how many
    pictures there are, and would be wrong for how often two of them agree.
    """
    tasks = linked(samples.tasks.codes, np.arange(len(samples)))
    links = [tasks, _same(samples.hashes, samples.pixels.codes, by_hash=by_hash)]
    return components(len(samples), *(np.concatenate(ends) for ends in zip(*links, strict=True)))


def _same(hashes: Hashes, pixels: npt.NDArray[np.signedinteger], *, by_hash: bool) -> tuple[Integers, Integers]:
    """Return links between rows that show the same: equal pixels, or equal hashes where pixels are not known."""
    known = np.flatnonzero(pixels >= 0)
    left, right = linked(pixels, known)
    if not by_hash or len(known) == len(pixels):
        return left, right
    same = np.unique(hashes, axis=0, return_inverse=True)[1].reshape(-1)
    more_left, more_right = linked(same, np.flatnonzero(np.isin(same, same[pixels < 0])))
    return np.concatenate([left, more_left]), np.concatenate([right, more_right])


def _equal_kinds(present: Bools, pixels: Integers, hashes: Hashes) -> dict[int, list[int]]:
    """Kinds that gave equal pixels wherever both answered: for the first of each set the others.

    Where pixels are not known, hashes must be equal, and pixels somewhere else. A kind joins a set if it equals all of
    it that it can be compared with, and can be compared with one.
    """
    sets: list[list[int]] = []
    for kind in np.flatnonzero(present.any(axis=0)):
        for members in sets:
            common = present[:, members] & present[:, [kind]]
            known = common & (pixels[:, members] >= 0) & (pixels[:, [kind]] >= 0)
            equal = np.where(
                known,
                pixels[:, members] == pixels[:, [kind]],
                (hashes[:, members] == hashes[:, [kind]]).all(axis=2),
            )
            if known.any() and equal[common].all():
                members.append(int(kind))
                break
        else:
            sets.append([int(kind)])
    return {members[0]: members[1:] for members in sets if len(members) > 1}


def _move(rows: Integers, first: int, others: list[int], *columns: npt.NDArray[np.generic]) -> None:
    """Let a kind answer for others that equal it, in place; the second column says which answers are there."""
    present = columns[1]
    for other in others:
        there = rows[np.asarray(present[rows, other], np.bool_)]
        for column in columns:
            column[there, first] = column[there, other]
        present[rows, other] = False


def _pictures(hashes: Hashes, present: Bools, pixels: Integers) -> Integers:
    """Number the pictures: two tasks are of one picture where they have equal answers, of whichever kinds."""
    task = np.nonzero(present)[0]
    left, right = _same(hashes[present], pixels[present], by_hash=True)
    return components(len(present), task[left], task[right])


def _warnings(
    kinds: tuple[str, ...], hashes: Hashes, present: Bools, pixels: Integers, picture: Integers
) -> tuple[str, ...]:
    said = []
    twice = len(picture) - int(picture.max()) - 1
    if twice:
        said.append(f"{twice} of {len(picture)} tasks gave a picture that another one gave; each picture counts once")
    if (pixels[present] < 0).any():
        alike = [
            f"{kinds[a]} and {kinds[b]}"
            for a in range(len(kinds))
            for b in range(a)
            if (common := present[:, a] & present[:, b]).any() and (hashes[common, a] == hashes[common, b]).all()
        ]
        same = f"; these gave equal hashes everywhere: {', '.join(alike[:5])}" if alike else ""
        said.append(
            "some answers have no result digest, so that kinds of machines which give equal pixels cannot be told; each"
            f" counts as a kind of its own, which makes honest rates look lower than they are{same}"
        )
    return tuple(said)
