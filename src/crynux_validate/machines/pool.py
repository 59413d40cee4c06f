"""The candidates of a draw, in columns, so that a draw from a million of them is fast (protocol P4)."""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, overload

from crynux_validate.encoding import check_id, check_integer, check_type, digest, length_prefixed, shorten
from crynux_validate.errors import InvalidInputError, needed_for

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MAX_WEIGHT: Final = 2**32 - 1
MAX_ID_LENGTH: Final = 128


@dataclass(frozen=True, slots=True)
class Candidate:
    """A node that can be drawn, with its owner and weight when the group opened (protocol P4)."""

    id: str
    owner: str
    weight: int


class Pool(Sequence[Candidate]):
    """The candidates of a draw, sorted by node id; read-only.

    Parameters
    ----------
    candidates
        The candidates in any order. Ids and owners are 1 to 128 printable ASCII characters without spaces, ids differ,
        weights are 1 to 2^32-1.

    Raises
    ------
    InvalidInputError
        For an invalid id, owner or weight, which the message names.
    """

    def __init__(self, candidates: Iterable[Candidate] = ()) -> None:
        check_type(candidates, Iterable, "the pool", "candidates")
        found = list(candidates)
        for candidate in found:
            if not isinstance(candidate, Candidate):
                raise InvalidInputError(f"the pool holds {shorten(candidate)}; expected a Candidate")
        self._fill([c.id for c in found], [c.owner for c in found], [c.weight for c in found])

    @classmethod
    def from_columns(cls, ids: Sequence[str], owners: Sequence[str], weights: Sequence[int]) -> "Pool":
        """Build a pool from three columns of equal length, in any order."""
        for name, column in (("ids", ids), ("owners", owners), ("weights", weights)):
            if isinstance(column, str | bytes | bytearray):
                raise InvalidInputError(f"{name} is {shorten(column)}; expected a list, one for each candidate")
            check_type(column, Sequence, name, "a list, one for each candidate")
        if not len(ids) == len(owners) == len(weights):
            raise InvalidInputError(
                f"the pool has {len(ids)} ids, {len(owners)} owners and {len(weights)} weights; expected as many"
                " of each"
            )
        pool = cls.__new__(cls)
        pool._fill(ids, owners, weights)
        return pool

    def _fill(self, ids: Sequence[str], owners: Sequence[str], weights: Sequence[int]) -> None:
        with needed_for("a pool of nodes", "ledger"):
            import numpy as np

        _check_ids(ids, "the node id")
        _check_ids(owners, "the owner")
        _check_weights(weights, ids)
        if list(ids) != sorted(ids):
            order = sorted(range(len(ids)), key=ids.__getitem__)
            ids, owners = [ids[at] for at in order], [owners[at] for at in order]
            weights = [weights[at] for at in order]
        self._ids = tuple(ids)
        self._owners = tuple(owners)
        if len(set(self._ids)) < len(self._ids):
            twice = next(node for before, node in pairwise(self._ids) if before == node)
            raise InvalidInputError(f"node {twice} is twice in the pool; give each node once")
        self._owner_count = len(set(owners))
        self._weights = np.array(weights, dtype=np.uint64)
        self._running_sums = np.cumsum(self._weights)
        for column in (self._weights, self._running_sums):
            column.setflags(write=False)

    @property
    def ids(self) -> tuple[str, ...]:
        """The node ids, sorted."""
        return self._ids

    @property
    def owners(self) -> tuple[str, ...]:
        """The owner of each candidate, in the order of `ids`."""
        return self._owners

    @property
    def weights(self) -> "NDArray[np.uint64]":
        """The weight of each candidate, in the order of `ids`; read-only."""
        return self._weights

    @property
    def running_sums(self) -> "NDArray[np.uint64]":
        """The sum of the weights up to each candidate, inclusive, in the order of `ids`; read-only."""
        return self._running_sums

    @property
    def total_weight(self) -> int:
        """The sum of all weights; 0 for an empty pool."""
        return int(self._running_sums[-1]) if self._ids else 0

    @property
    def owner_count(self) -> int:
        """The number of distinct owners, which is the size of the largest group that can be drawn."""
        return self._owner_count

    @cached_property
    def digest(self) -> str:
        """The digest over ids, owners and weights (protocol, "Bytes"): 64 lower-case hexadecimal digits."""
        columns = ("\n".join(column) for column in (self._ids, self._owners))
        return digest("pool", *map(length_prefixed, columns), self._weights.astype(">u4").tobytes()).hex()

    @cached_property
    def places(self) -> dict[str, int]:
        """The index of each candidate, by node id. To build this takes time and memory; for many look-ups."""
        return dict(zip(self._ids, range(len(self._ids)), strict=True))

    def position(self, node: str) -> int | None:
        """Return the index of a node id, or None if the node is not in the pool."""
        check_type(node, str, "the node id", "text")
        at = bisect_left(self._ids, node)
        return at if at < len(self._ids) and self._ids[at] == node else None

    def __len__(self) -> int:
        return len(self._ids)

    @overload
    def __getitem__(self, at: int) -> Candidate: ...
    @overload
    def __getitem__(self, at: slice) -> tuple[Candidate, ...]: ...
    def __getitem__(self, at: int | slice) -> Candidate | tuple[Candidate, ...]:
        if isinstance(at, slice):
            return tuple(self[one] for one in range(*at.indices(len(self))))
        return Candidate(self._ids[at], self._owners[at], int(self._weights[at]))

    def __iter__(self) -> Iterator[Candidate]:
        return map(Candidate, self._ids, self._owners, self._weights.tolist())

    def __contains__(self, candidate: object) -> bool:
        if not isinstance(candidate, Candidate):
            return False
        at = self.position(candidate.id)
        return at is not None and self[at] == candidate

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Pool):
            return NotImplemented
        same = (self._ids, self._owners) == (other._ids, other._owners)
        return same and bool((self._weights == other._weights).all())

    def __hash__(self) -> int:
        return hash(self.digest)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the columns: what is read back is checked, and read-only, like any other pool."""
        return type(self).from_columns, (self._ids, self._owners, self._weights.tolist())

    def __repr__(self) -> str:
        return f"<Pool of {len(self)} nodes of {self._owner_count} owners>"


def _check_ids(column: Sequence[str], what: str) -> None:
    """Check the ids of a column all at once; only where one is wrong, look for it."""
    try:
        text, lengths = "".join(column), set(map(len, column))
    except TypeError:
        text, lengths = "", {0}
    if lengths and not (
        min(lengths) >= 1
        and max(lengths) <= MAX_ID_LENGTH
        and text.isascii()
        and text.isprintable()
        and " " not in text
    ):
        for value in column:
            check_id(value, what)


def _check_weights(weights: Sequence[int], ids: Sequence[str]) -> None:
    if weights and not (set(map(type, weights)) == {int} and min(weights) >= 1 and max(weights) <= MAX_WEIGHT):
        for node, weight in zip(ids, weights, strict=True):
            check_integer(weight, f"the weight of {node}", 1, MAX_WEIGHT)
