"""Distances of many hashes at once, with arrays of 64-bit integers.

For millions of hashes. Each distance is an exclusive or and a count of bits, computed in pieces that fit into the
cache. For one pair, or two answers of a group, :mod:`crynux_validate.hashing.hamming` is faster.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from crynux_validate.algorithms import HASH_BITS, HASH_BYTES
from crynux_validate.encoding import check_integer, parse_score, summary
from crynux_validate.errors import InvalidInputError, needed_for
from crynux_validate.hashing.hamming import SingleHash, single_bits, two_algorithms
from crynux_validate.hashing.perceptual import PerceptualHash

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    ManyHashes: TypeAlias = "NDArray[np.uint64] | bytes | str | Sequence[SingleHash]"
else:
    ManyHashes = object

_AT_ONCE: Final = 2**15
"""The number of distances that are counted at once: 256 KiB of 64-bit integers stay in the cache."""

_WANTED: Final = "comparing many hashes"
_SORTED_AT_ONCE: Final = 64
"""The number of near hashes that are collected before they are sorted."""


class Matches(NamedTuple):
    """The hashes that a search found, nearest first, those of the same distance by index.

    Parameters
    ----------
    indices
        The indices of the hashes in the array that was searched; integers of shape (found,).
    distances
        The distances of the hashes, 0..64; ``uint8`` of shape (found,).
    """

    indices: "NDArray[np.intp]"
    distances: "NDArray[np.uint8]"

    def __repr__(self) -> str:
        first = zip(self.indices[:5], self.distances[:5], strict=False)
        shown = (f"{index} at distance {distance}" for index, distance in first)
        return summary(self, f"{len(self.indices)} hashes", *shown, "..." if len(self.indices) > 5 else None)


def hash_array(hashes: ManyHashes) -> "NDArray[np.uint64]":
    """Return hashes as an array of integers, the form that the other functions use without a conversion.

    Parameters
    ----------
    hashes
        An array of ``uint64`` of any shape and byte order; bytes, 8 for each hash; hexadecimal digits, 16 for each
        hash; or a sequence of single hashes of any form; or one hash. Bytes and digits are big-endian, as in a score.

    Returns
    -------
    numpy.ndarray
        ``uint64`` in the machine's byte order: the shape of an array, otherwise (hashes,).

    Raises
    ------
    InvalidInputError
        For another type or dtype, a length that is not a multiple of 8 bytes, text that is not hexadecimal digits, and
        :class:`PerceptualHash` of different algorithms.
    """
    return _read(hashes, "hashes")[0]


def hamming_distances(a: ManyHashes | SingleHash, b: ManyHashes | SingleHash) -> "NDArray[np.uint8]":
    """Return the distances of hashes, pair by pair.

    Parameters
    ----------
    a, b
        As for `hash_array`. The shapes are broadcast as in numpy: two arrays of one shape are compared pair by pair,
        one hash with each of many, and one score of shape (images,) with each of many, of shape (scores, images).
        Distances of images are never summed (protocol A3).

    Returns
    -------
    numpy.ndarray
        ``uint8`` of the broadcast shape, each 0..64.

    Raises
    ------
    InvalidInputError
        As for `hash_array`; for shapes that do not fit each other, and hashes of two algorithms.
    """
    with needed_for(_WANTED, "ledger"):
        import numpy as np

    left, right = _read_both(a, b)
    try:
        left, right = np.broadcast_arrays(left, right)
    except ValueError as error:
        raise InvalidInputError(
            f"a has shape {left.shape} and b {right.shape}; expected one shape, or one hash and many: for every hash of"
            " a with every hash of b use hamming_matrix"
        ) from error
    distances = np.empty(left.shape, np.uint8)
    _count(left, right, distances, np.empty(min(_AT_ONCE, left.size), np.uint64))
    return distances


def hamming_matrix(a: ManyHashes, b: ManyHashes | None = None) -> "NDArray[np.uint8]":
    """Return the distance of every hash of `a` from every hash of `b`, or of `a` if `b` is left out.

    Parameters
    ----------
    a, b
        As for `hash_array`, of shapes (n,) and (m,).

    Returns
    -------
    numpy.ndarray
        ``uint8`` of shape (n, m): a byte for each pair, 100 MB for ten thousand hashes and themselves. To find near
        hashes only, call `hashes_within` for each hash, which needs less memory.

    Raises
    ------
    InvalidInputError
        As for `hash_array`; for arrays of other shapes, and hashes of two algorithms.
    """
    left, right = _read_both(a, a if b is None else b)
    return hamming_distances(_row(left, "a")[:, None], _row(right, "b"))


def hashes_within(one: SingleHash, many: ManyHashes, distance: int) -> Matches:
    """Find all hashes at a distance of at most `distance` from one hash.

    Parameters
    ----------
    one
        A single hash.
    many
        As for `hash_array`, of shape (hashes,).
    distance
        0..64, inclusive. Two images agree under a threshold if their distance is at most threshold - 1.

    Raises
    ------
    InvalidInputError
        As for `hash_array`; for an array of another shape, a distance outside 0..64, and hashes of two algorithms.
    """
    check_integer(distance, "distance", 0, HASH_BITS)
    found = []
    for first, distances in _from_one(one, many):
        hits = _below(distances, distance + 1)
        found.append(Matches(hits + first, distances[hits]))
    return _nearest_first(found)


def nearest_hashes(one: SingleHash, many: ManyHashes, k: int) -> Matches:
    """Find the `k` hashes that are nearest to one hash, or all of them if there are fewer.

    Of hashes at the same distance, those with lower indices come first.

    Parameters
    ----------
    one
        A single hash.
    many
        As for `hash_array`, of shape (hashes,).
    k
        1 or more.

    Raises
    ------
    InvalidInputError
        As for `hash_array`; for an array of another shape, a `k` below 1, and hashes of two algorithms.
    """
    with needed_for(_WANTED, "ledger"):
        import numpy as np

    check_integer(k, "k", 1, None)
    found: list[Matches] = []
    limit, waiting = HASH_BITS + 1, 0
    for first, distances in _from_one(one, many):
        if limit > HASH_BITS:  # so that not the whole first piece is sorted
            up_to = np.bincount(distances, minlength=HASH_BITS + 1).cumsum()
            limit = min(limit, int(np.searchsorted(up_to, k)) + 1)
        hits = _below(distances, limit)
        if not len(hits):
            continue
        found.append(Matches(hits + first, distances[hits]))
        waiting += len(hits)
        # Sorting a few at a time would cost more than looking at all the hashes.
        if waiting > max(k, _SORTED_AT_ONCE):
            best = _nearest_first(found)
            found, waiting = [Matches(best.indices[:k], best.distances[:k])], 0
            if len(best.distances) >= k:  # later hashes must be nearer than the last of these
                limit = int(best.distances[k - 1])
    best = _nearest_first(found)
    return Matches(best.indices[:k], best.distances[:k])


def _from_one(one: SingleHash, many: ManyHashes) -> "Iterator[tuple[int, NDArray[np.uint8]]]":
    """Yield the distances from one hash piece by piece, each with the index of its first; the next overwrites it."""
    with needed_for(_WANTED, "ledger"):
        import numpy as np

    integer = np.uint64(single_bits(one, "one"))
    array, algorithm = _read(many, "many")
    if isinstance(one, PerceptualHash) and algorithm is not None and one.algorithm != algorithm:
        raise two_algorithms("one", one.algorithm, "many", algorithm)
    different, counts = np.empty(_AT_ONCE, np.uint64), np.empty(_AT_ONCE, np.uint8)
    for first in range(0, len(_row(array, "many")), _AT_ONCE):
        part = array[first : first + _AT_ONCE]
        np.bitwise_xor(part, integer, out=different[: len(part)])
        yield first, np.bitwise_count(different[: len(part)], out=counts[: len(part)])


def _below(distances: "NDArray[np.uint8]", limit: int) -> "NDArray[np.intp]":
    """Return the indices of distances below a limit. Mostly there are none, which the minimum shows faster."""
    import numpy as np

    if distances[distances.argmin()] >= limit:
        return np.empty(0, np.intp)
    return np.flatnonzero(distances < limit)


def _nearest_first(parts: list[Matches]) -> Matches:
    import numpy as np

    indices = np.concatenate([np.empty(0, np.intp), *(part.indices for part in parts)])
    distances = np.concatenate([np.empty(0, np.uint8), *(part.distances for part in parts)])
    order = np.argsort(distances, kind="stable")
    return Matches(indices[order], distances[order])


def _count(
    left: "NDArray[np.uint64]", right: "NDArray[np.uint64]", counts: "NDArray[np.uint8]", scratch: "NDArray[np.uint64]"
) -> None:
    """Count the different bits of arrays of one shape into `counts`, as many at once as `scratch` holds."""
    import numpy as np

    if counts.size <= len(scratch):
        different = scratch[: counts.size].reshape(counts.shape)
        np.bitwise_count(np.bitwise_xor(left, right, out=different), out=counts)
        return
    step = max(len(scratch) // counts[0].size, 1)
    for first in range(0, len(counts), step):
        # A row that is too long itself is taken apart; a step of several rows is not.
        part = first if step == 1 and counts.ndim > 1 else slice(first, first + step)
        _count(left[part], right[part], counts[part], scratch)


# ------------------------------------------------------------------------------------------------ forms


def _read(hashes: ManyHashes | SingleHash, what: str) -> "tuple[NDArray[np.uint64], str | None]":
    """Return hashes as integers, and their algorithm, or None if it is unknown."""
    with needed_for(_WANTED, "ledger"):
        import numpy as np

    if isinstance(hashes, np.ndarray):
        if hashes.dtype.kind != "u" or hashes.dtype.itemsize != HASH_BYTES:
            raise InvalidInputError(
                f"{what} has dtype {hashes.dtype} and shape {hashes.shape}; expected uint64: for rows of {HASH_BYTES}"
                " bytes pass their tobytes()"
            )
        return hashes.astype(np.uint64, copy=False), None
    if isinstance(hashes, str):
        hashes = parse_score(hashes, what, perceptual=True)
    if isinstance(hashes, bytes | bytearray | memoryview):
        data = bytes(hashes)
        if len(data) % HASH_BYTES:
            raise InvalidInputError(f"{what} has {len(data)} bytes; expected {HASH_BYTES} for each hash")
        return np.frombuffer(data, ">u8").astype(np.uint64), None
    if not isinstance(hashes, Sequence):
        algorithm = hashes.algorithm if isinstance(hashes, PerceptualHash) else None
        return np.array([single_bits(hashes, what)], np.uint64), algorithm
    algorithms = {value.algorithm: at for at, value in enumerate(hashes) if isinstance(value, PerceptualHash)}
    if len(algorithms) > 1:
        (first, at), (other, place) = list(algorithms.items())[:2]
        raise two_algorithms(f"{what}[{at}]", first, f"{what}[{place}]", other)
    integers = (single_bits(value, f"{what}[{at}]") for at, value in enumerate(hashes))
    return np.fromiter(integers, np.uint64, len(hashes)), next(iter(algorithms), None)


def _read_both(
    a: ManyHashes | SingleHash, b: ManyHashes | SingleHash
) -> "tuple[NDArray[np.uint64], NDArray[np.uint64]]":
    (left, algorithm), (right, other) = _read(a, "a"), _read(b, "b")
    if algorithm is not None and other is not None and algorithm != other:
        raise two_algorithms("a", algorithm, "b", other)
    return left, right


def _row(array: "NDArray[np.uint64]", what: str) -> "NDArray[np.uint64]":
    if array.ndim != 1:
        raise InvalidInputError(f"{what} has shape {array.shape}; expected hashes in one row, of shape (hashes,)")
    return array
