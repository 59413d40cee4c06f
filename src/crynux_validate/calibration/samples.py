"""What a calibration is made from: answers of honest machines, unrelated pictures, answers of named cheats.

One row is one answer of one machine to one task. Rows lie in columns, so that millions of them fit into memory.
"""

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from crynux_validate.algorithms import DEGENERATE_OUTSIDE, HASH_BYTES, IMAGE_ALGORITHMS
from crynux_validate.calibration.fields import CHEAT_NAME
from crynux_validate.encoding import check_type, shorten, summary
from crynux_validate.errors import InvalidInputError
from crynux_validate.tasks import MAX_IMAGES

HONEST: Final = "honest"
"""The role of what a machine answered that did what was asked."""

UNRELATED: Final = "unrelated"
"""The role of a picture that has nothing to do with any task; also the name of the cheat that hands one in."""

CHEAT: Final = "cheat:"
"""What the role of a cheat begins with; its name follows."""

MAX_NAME: Final = 200
_CHEAT: Final = re.compile(CHEAT_NAME)

Bools: TypeAlias = npt.NDArray[np.bool_]
Codes: TypeAlias = npt.NDArray[np.int32]
Floats: TypeAlias = npt.NDArray[np.float64]
Hashes: TypeAlias = npt.NDArray[np.uint64]


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
        The perceptual hashes, 8 bytes for each of 1 to 16 images, or as hexadecimal digits.
    model
        Which model was asked for; it may be empty where the picture is unrelated.
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


@dataclass(frozen=True, eq=False)
class Labels:
    """A column of names, each stored once.

    Parameters
    ----------
    names
        The names, in the order of the alphabet.
    codes
        int32 of shape (rows,): for each row the place of its name; -1 where it has none.
    """

    names: tuple[str, ...]
    codes: Codes

    @classmethod
    def of(cls, names: Sequence[str | None]) -> "Labels":
        """Store a column; None is no name."""
        known = sorted({name for name in names if name is not None})
        place: dict[str | None, int] = {name: at for at, name in enumerate(known)}
        place[None] = -1
        return cls(tuple(known), np.fromiter((place[name] for name in names), np.int32, len(names)))

    def list(self) -> "list[str | None]":
        """Return the column as it was given."""
        return [None if code < 0 else self.names[code] for code in self.codes]

    def at(self, rows: "npt.NDArray[np.intp] | Bools") -> "Labels":
        """Return the column of some rows, with the names that they have."""
        codes = self.codes[rows]
        used = np.unique(codes[codes >= 0])
        renamed = np.full(len(self.names) + 1, -1, np.int32)  # the last place is for -1
        renamed[used] = np.arange(len(used), dtype=np.int32)
        return Labels(tuple(self.names[at] for at in used), renamed[codes])


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
    def of(cls, rows: Iterable[Sample]) -> "Samples":
        """Put rows into columns.

        Raises
        ------
        InvalidInputError
            For no row, a row that is none, and what `from_columns` refuses.
        """
        check_type(rows, Iterable, "rows", "an iterable of Sample")
        listed = list(rows)
        for at, row in enumerate(listed):
            check_type(row, Sample, f"rows[{at}]", "a Sample")
        if not listed:
            raise InvalidInputError("there are no samples: give at least the answers of two kinds of machines")
        algorithms = {str(row.algorithm) for row in listed}
        if len(algorithms) > 1:
            raise InvalidInputError(
                f"samples of the algorithms {', '.join(sorted(algorithms))} together; hashes of two algorithms cannot"
                " be compared: calibrate each by itself"
            )
        return cls.from_columns(
            algorithm=listed[0].algorithm,
            hashes=_hashes_of(listed),
            kind=[row.kind for row in listed],
            task=[row.task for row in listed],
            model=[row.model for row in listed],
            role=[row.role for row in listed],
            margin=[row.margin for row in listed],
            degenerate=[row.degenerate for row in listed],
            pixels=[row.pixels for row in listed],
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
        if algorithm not in IMAGE_ALGORITHMS:
            known = ", ".join(IMAGE_ALGORITHMS)
            raise InvalidInputError(f"algorithm is {shorten(algorithm)}; expected a hash of images: {known}")
        blocks = _checked_hashes(hashes)
        rows = len(blocks)
        roles = _labels(role, rows, "role", _check_role)
        idle = roles.codes == (roles.names.index(UNRELATED) if UNRELATED in roles.names else -2)
        samples = cls(
            algorithm=str(algorithm),
            kinds=_labels(kind, rows, "kind", _check_name, idle),
            tasks=_labels(task, rows, "task", _check_name),
            models=_labels(model, rows, "model", _check_name, idle),
            roles=roles,
            hashes=blocks,
            margins=_checked_margins(margin, rows),
            pixels=_checked_pixels(pixels, rows),
        )
        if degenerate is not None:
            _check_flags(degenerate, samples)
        return samples._once()

    @property
    def images(self) -> int:
        """How many images each answer has."""
        return int(self.hashes.shape[1])

    @property
    def degenerate(self) -> Bools:
        """Which rows have a degenerate hash (A2): bool of shape (rows,)."""
        fewest, most = DEGENERATE_OUTSIDE
        weight = np.bitwise_count(self.hashes)
        found: Bools = np.logical_or.reduce((weight < fewest) | (weight > most), axis=1)
        return found

    @property
    def cheats(self) -> tuple[str, ...]:
        """The names of the cheats that have samples, without unrelated pictures."""
        return tuple(name.removeprefix(CHEAT) for name in self.roles.names if name.startswith(CHEAT))

    def having(self, role: str) -> "Samples":
        """Return the rows of a role; there may be none."""
        at = self.roles.names.index(role) if role in self.roles.names else -2
        return self.at(self.roles.codes == at)

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
        columns = {
            name: Labels.of([*getattr(self, name).list(), *getattr(other, name).list()])
            for name in ("kinds", "tasks", "models", "roles", "pixels")
        }
        joined = Samples(
            self.algorithm,
            hashes=np.concatenate([self.hashes, other.hashes]),
            margins=np.concatenate([self.margins, other.margins]),
            **columns,
        )
        return joined._once()

    def __repr__(self) -> str:
        counts = np.bincount(self.roles.codes, minlength=len(self.roles.names))
        found = (f"{count} {name}" for name, count in zip(self.roles.names, counts, strict=True))
        return summary(self, self.algorithm, f"{self.images} images", *found)

    def _once(self) -> "Samples":
        """Keep equal answers once, and refuse two answers of one machine to one task; unrelated pictures stay."""
        self._check_pixels()
        idle = self.roles.names.index(UNRELATED) if UNRELATED in self.roles.names else -2
        places = np.flatnonzero(self.roles.codes != idle)
        columns = [column.codes[places] for column in (self.kinds, self.tasks, self.models, self.roles)]
        pixels = self.pixels.codes[places]
        order = np.lexsort([pixels, pixels < 0, *columns])  # of equal answers, one with a digest is kept
        same = np.logical_and.reduce([column[order][1:] == column[order][:-1] for column in columns])
        first, second = places[order][:-1][same], places[order][1:][same]
        if not len(first):
            return self
        known = (self.pixels.codes[first] >= 0) & (self.pixels.codes[second] >= 0)
        other = (self.hashes[first] != self.hashes[second]).any(axis=1)
        other |= known & (self.pixels.codes[first] != self.pixels.codes[second])
        if other.any():
            row = int(first[other.argmax()])
            kind, task = self.kinds.names[self.kinds.codes[row]], self.tasks.names[self.tasks.codes[row]]
            role = self.roles.names[self.roles.codes[row]]
            raise InvalidInputError(
                f"the kind {shorten(kind)} gave two different {role} answers to the task {shorten(task)}; a kind of"
                " machine gives the same answer every time: give machines that differ names of their own"
            )
        kept = np.ones(len(self), np.bool_)
        kept[second] = False
        return self.at(kept)

    def _check_pixels(self) -> None:
        """Refuse equal pixels with different hashes, since pixels decide the hash."""
        known = np.flatnonzero(self.pixels.codes >= 0)
        order = known[np.argsort(self.pixels.codes[known], kind="stable")]
        first, second = order[:-1], order[1:]
        same = self.pixels.codes[first] == self.pixels.codes[second]
        other = same & (self.hashes[first] != self.hashes[second]).any(axis=1)
        if other.any():
            at = int(other.argmax())
            tasks = [self.tasks.names[self.tasks.codes[row]] for row in (first[at], second[at])]
            raise InvalidInputError(
                f"the answers to the tasks {shorten(tasks[0])} and {shorten(tasks[1])} have the result digest"
                f" {self.pixels.names[self.pixels.codes[first[at]]][:12]} and different scores; equal pixels have one"
                " hash: take digest and score of the same run"
            )


def _hashes_of(rows: list[Sample]) -> Hashes:
    scores = [_score_bytes(row.score, at) for at, row in enumerate(rows)]
    lengths = {len(score) for score in scores}
    if len(lengths) > 1:
        found = ", ".join(str(length // HASH_BYTES) for length in sorted(lengths))
        raise InvalidInputError(
            f"samples with {found} images together; answers of different lengths cannot be compared: calibrate each"
            " number of images by itself"
        )
    return np.frombuffer(b"".join(scores), ">u8").astype(np.uint64).reshape(len(rows), -1)


def _score_bytes(score: object, at: int) -> bytes:
    if isinstance(score, str):
        try:
            score = bytes.fromhex(score)
        except ValueError as error:
            raise InvalidInputError(f"rows[{at}]: score is {shorten(score)}; expected hexadecimal digits") from error
    if not isinstance(score, bytes) or len(score) % HASH_BYTES or not 1 <= len(score) // HASH_BYTES <= MAX_IMAGES:
        raise InvalidInputError(
            f"rows[{at}]: score is {shorten(score)}; expected {HASH_BYTES} bytes for each of 1 to {MAX_IMAGES} images"
        )
    return score


def _checked_hashes(hashes: object) -> Hashes:
    if not isinstance(hashes, np.ndarray) or hashes.dtype != np.uint64 or hashes.ndim not in (1, 2):
        found = (
            f"an array of {hashes.dtype} {hashes.shape}" if isinstance(hashes, np.ndarray) else type(hashes).__name__
        )
        raise InvalidInputError(f"hashes is {found}; expected uint64 of the shape (rows, images), as of hash_array")
    blocks = np.ascontiguousarray(hashes.reshape(len(hashes), -1) if hashes.ndim == 1 else hashes)
    if not len(blocks) or not 1 <= blocks.shape[1] <= MAX_IMAGES:
        raise InvalidInputError(
            f"hashes has the shape {hashes.shape}; expected at least one row and 1 to {MAX_IMAGES} images"
        )
    return blocks


def _labels(
    given: object, rows: int, what: str, check: Callable[[str, str], None], may_be_empty: Bools | None = None
) -> Labels:
    if isinstance(given, str):
        labels = Labels((given,), np.zeros(rows, np.int32))
    else:
        labels = Labels.of(_column(given, rows, what))
    for at, name in enumerate(labels.names):
        if name == "" and may_be_empty is not None and may_be_empty[labels.codes == at].all():
            continue
        check(name, what)
    return labels


def _column(given: object, rows: int, what: str) -> list[str]:
    if not isinstance(given, Sequence | np.ndarray) or isinstance(given, bytes) or len(given) != rows:
        found = f"{len(given)} values" if isinstance(given, Sequence | np.ndarray) else f"a {type(given).__name__}"
        raise InvalidInputError(f"{what} has {found}; expected {rows} texts, one for each row")
    for at, name in enumerate(given):
        if not isinstance(name, str):
            raise InvalidInputError(f"{what}[{at}] is {shorten(name)}; expected text")
    return list(given)


def _check_name(name: str, what: str) -> None:
    if not 1 <= len(name) <= MAX_NAME or not name.isprintable():
        raise InvalidInputError(f"{what} is {shorten(name)}; expected 1 to {MAX_NAME} printable characters")


def _check_role(name: str, what: str) -> None:
    if name not in (HONEST, UNRELATED) and not (
        name.startswith(CHEAT)
        and _CHEAT.fullmatch(name.removeprefix(CHEAT))
        and name.removeprefix(CHEAT) not in (HONEST, UNRELATED)
    ):
        raise InvalidInputError(
            f"{what} is {shorten(name)}; expected honest, unrelated, or cheat:<name> with a name like half-steps"
        )


def _checked_margins(given: object, rows: int) -> Floats:
    if given is None:
        return np.full(rows, np.nan)
    if not isinstance(given, Sequence | np.ndarray) or isinstance(given, str | bytes) or len(given) != rows:
        raise InvalidInputError(f"margin is {shorten(given)}; expected {rows} numbers, one for each row, or None")
    margins = np.full(rows, np.nan)
    for at, margin in enumerate(given):
        if margin is None:
            continue
        if isinstance(margin, bool) or not isinstance(margin, int | float | np.floating) or not 0 <= margin < math.inf:
            raise InvalidInputError(
                f"margin[{at}] is {shorten(margin)}; expected a finite number of at least 0, or None where none is"
                " known"
            )
        margins[at] = margin
    return margins


def _checked_pixels(given: object, rows: int) -> Labels:
    if given is None:
        return Labels((), np.full(rows, -1, np.int32))
    if not isinstance(given, Sequence) or isinstance(given, str | bytes) or len(given) != rows:
        raise InvalidInputError(f"pixels is {shorten(given)}; expected {rows} digests, one for each row, or None")
    digests: list[str | None] = []
    for at, digest in enumerate(given):
        text = digest.hex() if isinstance(digest, bytes) else digest
        if text is not None and (not isinstance(text, str) or not re.fullmatch("[0-9a-fA-F]{64}", text)):
            raise InvalidInputError(
                f"pixels[{at}] is {shorten(digest)}; expected a result digest: 64 hexadecimal digits"
            )
        digests.append(None if text is None else text.lower())
    return Labels.of(digests)


def _check_flags(given: object, samples: Samples) -> None:
    if not isinstance(given, Sequence | np.ndarray) or isinstance(given, str | bytes) or len(given) != len(samples):
        raise InvalidInputError(f"degenerate is {shorten(given)}; expected {len(samples)} flags, one for each row")
    for at, (flag, true) in enumerate(zip(given, samples.degenerate, strict=True)):
        if flag is None:
            continue
        if not isinstance(flag, bool | np.bool_):
            raise InvalidInputError(f"degenerate[{at}] is {shorten(flag)}; expected True, False or None")
        if flag != true:
            score = samples.hashes[at].astype(">u8").tobytes().hex()
            raise InvalidInputError(
                f"degenerate[{at}] is {bool(flag)}, but the score {shorten(score)} is {'' if true else 'not '}"
                "degenerate; leave the flag out: it follows from the score"
            )
