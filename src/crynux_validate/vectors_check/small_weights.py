"""Vectors of weights in 4 and 8 bits (protocol T6), computed without torch."""

from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

from crynux_validate.errors import needed_for
from crynux_validate.vectors_check.files import Vector

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Float32s = NDArray[np.float32]

_BLOCK: Final = 64
_VALUES: Final = (0.0, 1 / 192, 2 / 3, 1.0, 1 / 3, 1 / 2, 1 / 6, 1 / 4)
"""Of codes 0 to 7; from 8 on they are the same with a minus."""


def rounded(vector: Vector) -> Iterator[tuple[str, Any]]:
    """Codes, scales, and what they stand for."""
    with needed_for("a vector of small weights", "hash"):
        import numpy as np
    given = vector.content
    dtype, rows = given["dtype"], given["rows"]
    weights = _from_hex(given["weights"], dtype)
    if given["bits"] == 4:
        codes, scales, widened = _four(weights)
    else:
        codes, scales, widened = _eight(weights.reshape(rows, -1))
    yield "codes", codes
    yield "scales", scales.astype(">f4").tobytes().hex()
    yield "widened", _to_hex(np.ravel(widened), dtype)


def _four(weights: "Float32s") -> "tuple[str, Float32s, Float32s]":
    import numpy as np

    values = np.array([*_VALUES, *(-value for value in _VALUES)], np.float32)
    # Zero, code 0, stands before minus zero, code 8.
    order = sorted(range(16), key=lambda code: (values[code], code))
    middles = np.array([(values[one] + values[other]) / 2 for one, other in pairwise(order)], np.float32)
    blocks = np.pad(weights, (0, -len(weights) % _BLOCK)).reshape(-1, _BLOCK)
    scales = np.abs(blocks).max(axis=1)
    shares = np.clip(blocks * _inverse(scales)[:, None], -1, 1)
    codes = np.array(order, np.uint8)[np.searchsorted(middles, shares.ravel())]
    widened = (values[codes].reshape(-1, _BLOCK) * scales[:, None]).ravel()[: len(weights)]
    pairs = codes[: len(weights) + len(weights) % 2]
    return (pairs[::2] * 16 + pairs[1::2]).tobytes().hex(), scales, widened


def _eight(weights: "Float32s") -> "tuple[str, Float32s, Float32s]":
    import numpy as np

    scales: Float32s = np.abs(weights).max(axis=1, keepdims=True)
    codes = np.rint(weights * (_inverse(scales) * np.float32(127))).astype(np.int8)
    widened = np.multiply(codes.astype(np.float32) * scales, 1 / 127, dtype=np.float32)
    return codes.tobytes().hex(), scales, widened


def _inverse(scales: "Float32s") -> "Float32s":
    import numpy as np

    return np.divide(1, np.maximum(scales, np.float32(1e-30)), dtype=np.float32)


def _from_hex(text: str, dtype: str) -> "Float32s":
    """Read the bits of numbers, the highest first."""
    import numpy as np

    data = bytes.fromhex(text)
    if dtype == "bfloat16":
        return (np.frombuffer(data, ">u2").astype(np.uint32) << 16).view(np.float32)
    return np.frombuffer(data, {"float16": ">f2", "float32": ">f4"}[dtype]).astype(np.float32)


def _to_hex(values: "Float32s", dtype: str) -> str:
    """Round numbers to a dtype, and write their bits."""
    import numpy as np

    if dtype != "bfloat16":
        return values.astype({"float16": ">f2", "float32": ">f4"}[dtype]).tobytes().hex()
    bits = values.view(np.uint32)
    # To the nearest, ties to even.
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(">u2").tobytes().hex()
