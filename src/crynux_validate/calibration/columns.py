"""Columns of samples: names that are stored once, and values that are checked."""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from crynux_validate.algorithms import HASH_BYTES, IMAGE_ALGORITHMS
from crynux_validate.calibration.fields import CHEAT, CHEAT_NAME, HONEST, UNRELATED
from crynux_validate.calibration.intervals import Floats, Integers
from crynux_validate.encoding import parse_score, shorten
from crynux_validate.errors import InvalidInputError
from crynux_validate.judging.bulk import Bools, Hashes
from crynux_validate.tasks import MAX_IMAGES

MAX_NAME: Final = 200

Codes: TypeAlias = npt.NDArray[np.int32]
Where: TypeAlias = Callable[[int, str], str]
"""What the value of a row in a column is called in an error."""


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

    def are(self, name: str) -> Bools:
        """Which rows have this name: bool of shape (rows,)."""
        found: Bools = self.codes == (self.names.index(name) if name in self.names else -2)
        return found

    def of_row(self, row: int) -> str:
        """Return the name of a row that has one."""
        return self.names[int(self.codes[row])]

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


def linked(values: npt.NDArray[np.signedinteger], rows: Integers) -> tuple[Integers, Integers]:
    """Return links between those of some rows that have equal values, as two arrays of rows."""
    order = rows[np.argsort(values[rows], kind="stable")]
    same = values[order][1:] == values[order][:-1]
    return order[:-1][same], order[1:][same]


def check_algorithm(algorithm: object, what: str) -> None:
    """Refuse what is no perceptual hash."""
    if algorithm not in IMAGE_ALGORITHMS:
        known = ", ".join(IMAGE_ALGORITHMS)
        raise InvalidInputError(f"{what} is {shorten(algorithm)}; expected a hash of images: {known}")


def score_bytes(score: object, what: str) -> bytes:
    """Return the bytes of a score."""
    found = parse_score(score, what, perceptual=True) if isinstance(score, str) else score
    if not isinstance(found, bytes) or len(found) % HASH_BYTES or not 1 <= len(found) // HASH_BYTES <= MAX_IMAGES:
        raise InvalidInputError(
            f"{what} is {shorten(score)}; expected {HASH_BYTES} bytes for each of 1 to {MAX_IMAGES} images"
        )
    return found


def hash_blocks(hashes: object) -> Hashes:
    """Return hashes in the shape (rows, images)."""
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


def column(given: object, rows: int, what: str, expected: str) -> Sequence[Any]:
    """Return a column of values; None is one of nothing, and a name stands for all rows."""
    if given is None or (isinstance(given, str) and expected == "texts"):
        return [given] * rows
    if not isinstance(given, Sequence | np.ndarray) or isinstance(given, str | bytes) or len(given) != rows:
        raise InvalidInputError(f"{what} is {shorten(given)}; expected {rows} {expected}, one for each row")
    return list(given)


def labels_of(
    given: Sequence[Any], what: str, where: Where, check: Callable[[str, str], None], may_be_empty: Bools | None = None
) -> Labels:
    """Return a column of names, each of which is checked."""
    for row, name in enumerate(given):
        if not isinstance(name, str):
            raise InvalidInputError(f"{where(row, what)} is {shorten(name)}; expected text")
    labels = Labels.of(given)
    for name, row in zip(labels.names, np.unique(labels.codes, return_index=True)[1], strict=True):
        first = int(row)
        if name == "" and may_be_empty is not None:
            wrong = labels.are("") & ~may_be_empty
            if not wrong.any():
                continue
            first = int(wrong.argmax())
        check(name, where(first, what))
    return labels


def check_name(name: str, what: str) -> None:
    """Refuse what is no name of a kind, a task or a model."""
    if not 1 <= len(name) <= MAX_NAME or not name.isprintable():
        raise InvalidInputError(f"{what} is {shorten(name)}; expected 1 to {MAX_NAME} printable characters")


def check_role(name: str, what: str) -> None:
    """Refuse what is no role."""
    cheat = name.removeprefix(CHEAT)
    known = cheat in (HONEST, UNRELATED)
    if known == (cheat != name) or not re.fullmatch(CHEAT_NAME, cheat):  # "cheat:honest", or "half-steps" alone
        raise InvalidInputError(
            f"{what} is {shorten(name)}; expected honest, unrelated, or cheat:<name> with a name like half-steps"
        )


def margins_of(given: Sequence[Any], where: Where) -> Floats:
    """Return margins; NaN where one is None."""
    for row, margin in enumerate(given):
        known = isinstance(margin, int | float | np.floating) and not isinstance(margin, bool)
        if margin is not None and not (known and 0 <= margin < math.inf):
            raise InvalidInputError(
                f"{where(row, 'margin')} is {shorten(margin)}; expected a finite number of at least 0, or None"
            )
    return np.array([math.nan if margin is None else margin for margin in given], np.float64)


def digests_of(given: Sequence[Any], where: Where) -> Labels:
    """Return result digests in one form."""
    digests = [digest.hex() if isinstance(digest, bytes) else digest for digest in given]
    for row, text in enumerate(digests):
        if text is not None and (not isinstance(text, str) or not re.fullmatch("[0-9a-fA-F]{64}", text)):
            raise InvalidInputError(
                f"{where(row, 'pixels')} is {shorten(given[row])}; expected a result digest: 64 hexadecimal digits"
            )
    return Labels.of([None if text is None else text.lower() for text in digests])


def check_flags(given: Sequence[Any], degenerate: Bools, where: Where) -> None:
    """Refuse a flag that contradicts the score."""
    for row, (flag, true) in enumerate(zip(given, degenerate, strict=True)):
        if flag is not None and (not isinstance(flag, bool | np.bool_) or flag != true):
            raise InvalidInputError(
                f"{where(row, 'degenerate')} is {shorten(flag)}, but the score is {'' if true else 'not '}degenerate;"
                " leave the flag out: it follows from the score"
            )
