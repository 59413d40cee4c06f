"""What the vectors of several kinds share."""

from collections.abc import Sequence
from typing import Any, Final

import crynux_validate as cv

Vector = dict[str, Any]

HUB: Final = cv.ModelRef("stabilityai/sdxl-turbo", revision="0123456789abcdef0123456789abcdef01234567")
LOCAL: Final = cv.ModelRef(digest="ab" * 32)
CARD: Final = cv.GpuModel("NVIDIA GeForce RTX 4090", 24)
NONCE: Final = bytes(range(100, 132))
SEED: Final = bytes(range(200, 232))
"""Of a second round."""
ODD: Final = "<&>\"\\'%~"
"""An id of signs that other formats escape."""


def vector(name: str, why: str, flags: Sequence[str] = (), /, **content: Any) -> Vector:
    """Return a vector: what every kind has, then what is given, then what must be computed."""
    return {"id": name, "reason": why, "flags": list(flags), **content}
