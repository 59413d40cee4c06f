"""What a calibration is made from: answers of honest machines, unrelated pictures, answers of named cheats.

One row is one answer of one machine to one task. Rows lie in columns, so that millions of them fit into memory.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from crynux_validate.algorithms import HASH_BYTES
from crynux_validate.calibration import columns
from crynux_validate.calibration.columns import Labels, Where
from crynux_validate.calibration.fields import CHEAT, UNRELATED
from crynux_validate.calibration.intervals import Floats
from crynux_validate.encoding import check_type, shorten, summary
from crynux_validate.errors import InvalidInputError
from crynux_validate.judging.bulk import Bools, Hashes, is_telling


@dataclass(frozen=True, slots=True)
class Sample:
    """One answer.

    Parameters
    ----------
    kind
        The kind of machine that gave it, as a name of the caller's: two machines of one kind give equal bits. It may be
        empty where the picture is unrelated.
    task
        What was answered: the task's digest. Of an unrelated picture, what is independent of all others: the name of
        the photograph, so that two parts of one photograph are never compared.
    role
        ``honest``, ``unrelated``, or ``cheat:<name>``; a name has up to 64 of a-z, 0-9, ``.``, ``_``, ``-``.
    algorithm
        ``phash/1`` or ``phash-go/1``.
    score
        The perceptual hashes, 8 bytes for each of 1 to 16 images, or hexadecimal digits (also after ``0x``, ``p:``).
    model
        What was loaded: the task's `loads`, the model and its parts; it may be empty where the picture is unrelated.
    margin
        The smallest margin of the hashes, finite and at least 0; None where it is not known.
    degenerate
        Whether one of the hashes is degenerate. It follows from the score, and is checked; None is not.
    pixels
        The result digest, which tells machines apart that give other pixels and the same hash; None where it is not
        known.
    """

    kind: str
    task: str
    role: str
    algorithm: str
    score: bytes | str
    model: str = ""
    margin: float | None = None
    degenerate: bool | None = None
    pixels: bytes | str | None = None


_COLUMNS: Final = ("kind", "task", "model", "role", "margin", "degenerate", "pixels")


@dataclass(frozen=True, eq=False, repr=False)
class Samples:
    """Many answers under one algorithm, all with the same number of images.

    Make one with `of`, from rows, or with `from_columns`; ``+`` joins two. An honest answer or a cheat's that stands
    there twice is kept once.

    Parameters
    ----------
    algorithm
        The perceptual hash.
    kinds, tasks, models, roles
        Names, a column each.
    hashes
        uint64 of shape (rows, images), first bit highest.
    margins
        float64 of shape (rows,); NaN where a margin is not known.
    pixels
        Result digests as hexadecimal digits, where they are known.
    """

    algorithm: str
    kinds: Labels
    tasks: Labels
    models: Labels
    roles: Labels
    hashes: Hashes
    margins: Floats
    pixels: Labels

    @classmethod
    def of(cls, rows: Iterable[Sample], places: Sequence[str] = ()) -> "Samples":
        """Put rows into columns.

        Parameters
        ----------
        rows
            At least one.
        places
            What each row is called in an error, like the line of a file; ``rows[0]`` and so on if left out.

        Raises
        ------
        InvalidInputError
            For no row, what is none, two algorithms or numbers of images, and what `from_columns` refuses.
        """
        check_type(rows, Iterable, "rows", "an iterable of Sample")
        check_type(places, Sequence, "places", "a name for each row")
        listed = list(rows)
        if not listed:
            raise InvalidInputError("there are no samples: give at least the answers of two kinds of machines")
        called = places or [f"rows[{at}]" for at in range(len(listed))]
        if len(called) != len(listed):
            raise InvalidInputError(f"there are {len(called)} places; expected one for each of {len(listed)} rows")
        for row, place in zip(listed, called, strict=True):
            check_type(row, Sample, place, "a Sample")
        scores = [columns.score_bytes(row.score, f"{place}: score") for row, place in zip(listed, called, strict=True)]
        about = [(str(row.algorithm), len(score) // HASH_BYTES) for row, score in zip(listed, scores, strict=True)]
        other = next((at for at, one in enumerate(about) if one != about[0]), None)
        if other is not None:
            (algorithm, images), (first, first_images) = about[other], about[0]
            raise InvalidInputError(
                f"{called[other]} has {images} x {algorithm}, and {called[0]} has {first_images} x {first}; calibrate"
                " each by itself"
            )
        columns.check_algorithm(listed[0].algorithm, f"{called[0]}: algorithm")
        return cls._checked(
            about[0][0],
            np.frombuffer(b"".join(scores), ">u8").astype(np.uint64).reshape(len(listed), -1),
            {name: [getattr(row, name) for row in listed] for name in _COLUMNS},
            lambda row, name: f"{called[row]}: {name}",
            called,
        )

    @classmethod
    def from_columns(
        cls,
        *,
        algorithm: str,
        hashes: Hashes,
        task: Sequence[str],
        role: str | Sequence[str],
        kind: str | Sequence[str] = "",
        model: str | Sequence[str] = "",
        margin: Sequence[float | None] | Floats | None = None,
        degenerate: Sequence[bool | None] | Bools | None = None,
        pixels: Sequence[bytes | str | None] | None = None,
    ) -> "Samples":
        """Take columns of one length; a text stands for a whole column. Each as in `Sample`.

        Parameters
        ----------
        hashes
            uint64 of shape (rows, images), or (rows,) for one image, first bit highest (`hash_array`).

        Raises
        ------
        InvalidInputError
            For an unknown algorithm or role, columns of other lengths or types, names that are empty or longer than 200
            characters, margins that are NaN, infinite or negative, a flag that contradicts its hash, two different
            answers of one kind of machine to one task in one role, and equal result digests with different hashes.
        """
        columns.check_algorithm(algorithm, "algorithm")
        blocks = columns.hash_blocks(hashes)
        given: dict[str, tuple[object, str]] = {
            "task": (task, "texts"), "role": (role, "texts"), "kind": (kind, "texts"), "model": (model, "texts"),
            "margin": (margin, "numbers"), "degenerate": (degenerate, "flags"), "pixels": (pixels, "digests"),
        }  # fmt: skip
        found = {name: columns.column(one, len(blocks), name, expected) for name, (one, expected) in given.items()}
        return cls._checked(algorithm, blocks, found, lambda row, name: f"{name}[{row}]")

    @classmethod
    def _checked(
        cls, algorithm: str, hashes: Hashes, given: dict[str, Any], where: Where, places: Sequence[str] = ()
    ) -> "Samples":
        """Check values, which stand in columns of one length."""
        roles = columns.labels_of(given["role"], "role", where, columns.check_role)
        idle = roles.are(UNRELATED)
        samples = cls(
            algorithm=algorithm,
            kinds=columns.labels_of(given["kind"], "kind", where, columns.check_name, idle),
            tasks=columns.labels_of(given["task"], "task", where, columns.check_name),
            models=columns.labels_of(given["model"], "model", where, columns.check_name, idle),
            roles=roles,
            hashes=hashes,
            margins=columns.margins_of(given["margin"], where),
            pixels=columns.digests_of(given["pixels"], where),
        )
        columns.check_flags(given["degenerate"], samples.degenerate, where)
        return samples._once(places)

    @property
    def images(self) -> int:
        """How many images each answer has."""
        return int(self.hashes.shape[1])

    @property
    def degenerate(self) -> Bools:
        """Which rows have a degenerate hash (A2): bool of shape (rows,)."""
        telling: Bools = np.logical_and.reduce(is_telling(self.hashes), axis=1)
        return ~telling

    @property
    def cheats(self) -> tuple[str, ...]:
        """The names of the cheats that have samples, without unrelated pictures."""
        return tuple(name.removeprefix(CHEAT) for name in self.roles.names if name.startswith(CHEAT))

    def having(self, role: str) -> "Samples":
        """Return the rows of a role; there may be none."""
        return self.at(self.roles.are(role))

    def at(self, rows: "npt.NDArray[np.intp] | Bools") -> "Samples":
        """Return some rows, by their places or as a mask."""
        return Samples(
            self.algorithm,
            self.kinds.at(rows),
            self.tasks.at(rows),
            self.models.at(rows),
            self.roles.at(rows),
            self.hashes[rows],
            self.margins[rows],
            self.pixels.at(rows),
        )

    def __len__(self) -> int:
        return len(self.hashes)

    def __add__(self, other: object) -> "Samples":
        if not isinstance(other, Samples):
            return NotImplemented
        if (self.algorithm, self.images) != (other.algorithm, other.images):
            raise InvalidInputError(
                f"samples of {self.algorithm} with {self.images} images and of {other.algorithm} with {other.images}"
                " cannot be joined: calibrate each by itself"
            )
        joined = {
            name: Labels.of([*getattr(self, name).list(), *getattr(other, name).list()])
            for name in ("kinds", "tasks", "models", "roles", "pixels")
        }
        return Samples(
            self.algorithm,
            hashes=np.concatenate([self.hashes, other.hashes]),
            margins=np.concatenate([self.margins, other.margins]),
            **joined,
        )._once()

    def __repr__(self) -> str:
        counts = np.bincount(self.roles.codes, minlength=len(self.roles.names))
        found = (f"{count} {name}" for name, count in zip(self.roles.names, counts, strict=True))
        return summary(self, self.algorithm, f"{self.images} images", *found)

    def _once(self, places: Sequence[str] = ()) -> "Samples":
        """Keep equal answers once, and refuse two answers of one machine to one task; unrelated pictures stay.

        What contradicts each other is named by its places, where they are given.
        """

        def both(first: int, second: int) -> str:
            return f"{places[second]} and {places[first]}: " if len(places) else ""

        self._check_pixels(both)
        rows = np.flatnonzero(~self.roles.are(UNRELATED))
        names = [column.codes[rows] for column in (self.kinds, self.tasks, self.models, self.roles)]
        pixels = self.pixels.codes[rows]
        order = np.lexsort([pixels, pixels < 0, *names])  # of equal answers, one with a digest is kept
        same = np.logical_and.reduce([column[order][1:] == column[order][:-1] for column in names])
        first, second = rows[order][:-1][same], rows[order][1:][same]
        if not len(first):
            return self
        known = (self.pixels.codes[first] >= 0) & (self.pixels.codes[second] >= 0)
        other = (self.hashes[first] != self.hashes[second]).any(axis=1)
        other |= known & (self.pixels.codes[first] != self.pixels.codes[second])
        if other.any():
            row = int(first[other.argmax()])
            kind, task = shorten(self.kinds.of_row(row)), shorten(self.tasks.of_row(row))
            raise InvalidInputError(
                f"{both(row, int(second[other.argmax()]))}the kind {kind} gave two different {self.roles.of_row(row)}"
                f" answers to the task {task}; a kind of machine gives the same answer every time: give machines that"
                " differ names of their own"
            )
        kept = np.ones(len(self), np.bool_)
        kept[second] = False
        return self.at(kept)

    def _check_pixels(self, both: Callable[[int, int], str]) -> None:
        """Refuse equal pixels with different hashes, since pixels decide the hash."""
        first, second = columns.linked(self.pixels.codes, np.flatnonzero(self.pixels.codes >= 0))
        other = (self.hashes[first] != self.hashes[second]).any(axis=1)
        if other.any():
            a, b = int(first[other.argmax()]), int(second[other.argmax()])
            raise InvalidInputError(
                f"{both(a, b)}the answers to the tasks {shorten(self.tasks.of_row(a))} and"
                f" {shorten(self.tasks.of_row(b))} have the result digest {self.pixels.of_row(a)[:12]} and different"
                " scores; equal pixels have one hash: take digest and score of the same run"
            )
