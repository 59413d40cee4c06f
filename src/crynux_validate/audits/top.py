"""The largest logits of every token, bound in a tree; and some of them shown (protocol U7, U8).

A row is the bytes of a leaf's entries: for each of the eight largest raw logits its token id and the logit, u32 and
float32 little-endian, largest first, of equal ones the lowest id first. Nothing here needs numpy.
"""

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Self

from crynux_validate.answers import TextScore
from crynux_validate.audits.steps import draw_places, start_of
from crynux_validate.audits.tree import root_from, root_of, siblings_of
from crynux_validate.encoding import check_integer, check_type, digest, length_prefixed, shorten, summary
from crynux_validate.errors import InvalidInputError
from crynux_validate.tasks import TextTask

LARGEST: Final = 8
"""How many logits a row has; fewer only where the vocabulary has."""

OPENED: Final = 32
"""How many positions a proof shows by default."""

_ENTRY: Final = struct.Struct("<If")
_HEAD: Final = length_prefixed("crynux-validate/top-logits/1")

Place = tuple[int, int]
"""Sequence and position, both counted from 0."""


def entries(row: bytes, what: str = "a row") -> list[tuple[int, float]]:
    """Read a row: token ids with their logits.

    Raises
    ------
    InvalidInputError
        For what no row can be: another length, NaN or plus infinity, no finite logit, another order, an id twice.
    """
    if not isinstance(row, bytes) or not row or len(row) % _ENTRY.size or len(row) > LARGEST * _ENTRY.size:
        raise InvalidInputError(
            f"{what} does not have 1 to {LARGEST} entries of {_ENTRY.size} bytes; get the proof again"
        )
    found = list(_ENTRY.iter_unpack(row))
    if any(math.isnan(value) or value == math.inf for _, value in found) or not math.isfinite(found[0][1]):
        raise InvalidInputError(f"{what} has a logit that is NaN or infinite, which no honest run gives")
    if any((-a[1], a[0]) >= (-b[1], b[0]) for a, b in pairwise(found)):
        raise InvalidInputError(f"{what} is not in the order of the logits, largest first; get the proof again")
    if len({token for token, _ in found}) < len(found):
        raise InvalidInputError(f"{what} names a token id twice; get the proof again")
    return found


def row_of(largest: Sequence[tuple[int, float]]) -> bytes:
    """Return a row of token ids and logits, which are in their order."""
    return b"".join(_ENTRY.pack(token, value) for token, value in largest)


def leaf(task: TextTask, place: Place, row: bytes) -> bytes:
    """Return the digest of a position's row, 32 bytes (U7)."""
    numbers = b"".join(number.to_bytes(4, "big") for number in place)
    return digest("top-leaf", bytes.fromhex(task.digest), numbers, length_prefixed(row))


def places_of(token_ids: Sequence[Sequence[object]]) -> list[Place]:
    """Return all positions, in the order of their leaves."""
    if not isinstance(token_ids, Sequence) or not all(isinstance(ids, Sequence) for ids in token_ids):
        raise InvalidInputError(f"token_ids is {shorten(token_ids)}; expected a list of tokens for each sequence")
    return [(sequence, at) for sequence, ids in enumerate(token_ids) for at in range(len(ids))]


def audit_positions(
    seed: bytes, task: TextTask, answer: TextScore, token_ids: Sequence[Sequence[int]], count: int = OPENED
) -> tuple[Place, ...]:
    """Draw the positions of a text that are audited (protocol U8).

    Parameters
    ----------
    seed
        1 to 256 bytes that nobody knew when the answer was bound: a beacon's value, or what the creator drew then.
    task, answer, token_ids
        A task that binds ``top``, the node's answer, and its tokens.
    count
        How many positions, 1 or more; all of them where the text has fewer.

    Returns
    -------
    tuple
        Sequence and position of each, ascending, none twice; drawn from those of all sequences together.
    """
    check_type(task, TextTask, "the task", "a TextTask")
    check_type(answer, TextScore, "the answer", "a TextScore")
    places = places_of(token_ids)
    start = start_of("audit-positions", seed, task, answer.score)
    wanted = min(check_integer(count, "the number of positions", 1), len(places))
    return tuple(places[at] for at in sorted(draw_places(start, wanted, len(places))))


@dataclass(frozen=True)
class TopOpenings:
    """Some rows of a text, with what ties them to the root.

    Parameters
    ----------
    places
        Sequence and position of each, ascending.
    rows
        A row for each.
    siblings
        The other nodes that the root needs.
    """

    places: tuple[Place, ...]
    rows: tuple[bytes, ...]
    siblings: tuple[bytes, ...]

    def root(self, task: TextTask, token_ids: Sequence[Sequence[int]]) -> bytes:
        """Return the root that these rows give.

        Raises
        ------
        InvalidInputError
            For rows that are none, positions that the text does not have, and another number of siblings.
        """
        order = {place: at for at, place in enumerate(places_of(token_ids))}
        for place, row in zip(self.places, self.rows, strict=True):
            entries(row, f"the row of {told(place)}")
            if place not in order:
                raise InvalidInputError(f"the proof has {told(place)}, which the text does not have")
        shown = {order[place]: leaf(task, place, row) for place, row in zip(self.places, self.rows, strict=True)}
        return root_from(len(order), shown, self.siblings)


class TopLogits:
    """The largest logits of every token of a result: what a node keeps to have its answer audited.

    Parameters
    ----------
    task
        A task that binds ``top``.
    rows
        For each sequence a row for each token.
    """

    def __init__(self, task: TextTask, rows: Sequence[Sequence[bytes]]) -> None:
        check_type(task, TextTask, "the task", "a TextTask")
        places = places_of(rows)
        if not places:
            raise InvalidInputError(f"the rows are {shorten(rows)}; expected a row for each token of each sequence")
        for sequence, at in places:
            entries(rows[sequence][at], f"the row of {told((sequence, at))}")
        self.task = task
        self.rows = tuple(tuple(sequence) for sequence in rows)
        self._leaves = [
            leaf(task, (sequence, at), row) for sequence, some in enumerate(self.rows) for at, row in enumerate(some)
        ]
        self.root = root_of(self._leaves)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TopLogits) and (self.task, self.rows) == (other.task, other.rows)

    def __hash__(self) -> int:
        return hash((self.task, self.root))

    def __repr__(self) -> str:
        return summary(self, f"of {len(self._leaves)} tokens", f"root {self.root.hex()[:12]}")

    def open(self, places: Sequence[Place]) -> TopOpenings:
        """Show the rows of some positions, as `audit_positions` draws them."""
        order = {place: at for at, place in enumerate(places_of(self.rows))}
        if not isinstance(places, Sequence) or not places:
            raise InvalidInputError(f"the places are {shorten(places)}; expected what audit_positions returns")
        for place in places:
            if not isinstance(place, tuple) or len(place) != 2 or place not in order:
                raise InvalidInputError(f"{shorten(place)} is asked for, which the text does not have")
        wanted = sorted(set(places))
        rows = tuple(self.rows[sequence][at] for sequence, at in wanted)
        return TopOpenings(tuple(wanted), rows, tuple(siblings_of(self._leaves, [order[place] for place in wanted])))

    def to_bytes(self) -> bytes:
        """Return what `from_bytes` reads: a head with the task's digest, then for each sequence its rows."""
        parts = [_HEAD, bytes.fromhex(self.task.digest), len(self.rows).to_bytes(4, "big")]
        for some in self.rows:
            parts += [len(some).to_bytes(4, "big"), *(length_prefixed(row) for row in some)]
        return b"".join(parts)

    @classmethod
    def from_bytes(cls, task: TextTask, data: bytes) -> Self:
        """Read what `to_bytes` wrote; raises `InvalidInputError` for anything else, and for another task."""
        check_type(task, TextTask, "the task", "a TextTask")
        start = len(_HEAD) + 32
        if not isinstance(data, bytes) or not data.startswith(_HEAD) or len(data) < start + 4:
            raise InvalidInputError(
                "these bytes are not the largest logits of a text; TextResult.save writes them as top.bin"
            )
        found = data[len(_HEAD) : start].hex()
        if found != task.digest:
            raise InvalidInputError(
                f"the largest logits are for the task {found[:16]}..., not for {task.digest[:16]}..."
            )
        at = start

        def take(size: int) -> bytes:
            nonlocal at
            at += size
            if at > len(data):
                raise InvalidInputError("the file of the largest logits is cut off; get it again")
            return data[at - size : at]

        def number() -> int:
            return int.from_bytes(take(4), "big")

        rows = [[take(number()) for _ in range(number())] for _ in range(number())]
        if at < len(data) or not rows or not all(rows):
            raise InvalidInputError("the file of the largest logits holds something else; get it again")
        return cls(task, rows)


def told(place: Place) -> str:
    """A position in words."""
    return f"token {place[1]} of sequence {place[0]}"
