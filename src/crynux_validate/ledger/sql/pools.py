"""Pools as a database holds them: compactly, for many groups have nearly the same one.

An id belongs to its first owner for ever, so ids and owners stand once, in the table of nodes, by the node's number.
What is left of a pool are weights, which change only where somebody joins, leaves, tops up or is slashed, and who is in
it. The weights of all nodes are stored once for all groups that open before one of them changes; each group has a bit
for each node.
"""

import hashlib
import zlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from crynux_validate.errors import StorageError
from crynux_validate.machines.pool import Pool

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_COLUMNS: Final = ("_ids", "_owners", "_weights", "_running_sums", "_owner_count")


class StoredPool(Pool):
    """A `Pool` that is read when it is first looked at: most actions on a group never do."""

    def __init__(self, load: Callable[[], Pool]) -> None:
        self._load = load

    def __getattr__(self, name: str) -> Any:
        """Read the columns; called only for what is not there yet."""
        if name not in _COLUMNS:
            raise AttributeError(f"a Pool has no attribute {name!r}")
        loaded = vars(self._load())
        vars(self).update({column: loaded[column] for column in _COLUMNS})
        return loaded[name]

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle what any other pool pickles."""
        return Pool.from_columns, (self.ids, self.owners, self.weights.tolist())


def weights_digest(weights: "NDArray[np.uint32]") -> bytes:
    """Return what names the weights of all nodes, by their numbers: 32 bytes."""
    return hashlib.sha256(weights.astype("<u4").tobytes()).digest()


def encode_weights(weights: "NDArray[np.uint32]") -> bytes:
    """Return what is stored of the weights of all nodes, by their numbers."""
    return zlib.compress(weights.astype("<u4").tobytes())


def decode_weights(body: bytes) -> "NDArray[np.uint32]":
    """Read what `encode_weights` stored."""
    import numpy as np

    return np.frombuffer(_decompress(body), "<u4")


def encode_members(numbers: Sequence[int], count: int) -> bytes:
    """Return one bit for each of `count` nodes: whether it is in the pool."""
    import numpy as np

    bits = np.zeros(count, np.bool_)
    bits[list(numbers)] = True
    return zlib.compress(np.packbits(bits).tobytes())


def decode_members(body: bytes) -> list[int]:
    """Read what `encode_members` stored: the numbers, ascending."""
    import numpy as np

    found: list[int] = np.flatnonzero(np.unpackbits(np.frombuffer(_decompress(body), np.uint8))).tolist()
    return found


def build_pool(
    numbers: Sequence[int], weights: "NDArray[np.uint32]", ids: Sequence[str], owners: Sequence[str]
) -> Pool:
    """Build the pool of some nodes, by their numbers."""
    return Pool.from_columns(
        [ids[at] for at in numbers], [owners[at] for at in numbers], weights[list(numbers)].tolist()
    )


def _decompress(body: bytes) -> bytes:
    try:
        return zlib.decompress(body)
    except zlib.error as error:
        raise StorageError(f"a group's pool cannot be read: the database was damaged or edited ({error})") from error
