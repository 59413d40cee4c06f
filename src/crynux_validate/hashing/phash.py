"""``phash/1``: the bits of ImageHash's ``phash``, the same under every version of the libraries below."""

import hashlib
from functools import cache
from typing import TYPE_CHECKING, Final

from crynux_validate.errors import PipelineError
from crynux_validate.hashing.images import Reads
from crynux_validate.hashing.perceptual import PerceptualHash
from crynux_validate.hashing.phash_transform import lowest_coefficients

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

READS: Final = Reads(
    modes=("1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr", "HSV", "I", "I;16", "I;16L", "I;16B", "I;16N")
)
"""Modes without alpha whose conversion to 8-bit grey is defined; values above 255 are clipped."""

_SIDE: Final = 32
_LOW: Final = 8
_MIDDLE: Final = _LOW * _LOW // 2

_SURE: Final = 1e-6
"""If the two middle coefficients are farther apart than this, the rounding of sums cannot change the hash.

Samples are at most 255, so coefficients at most 2^20. Errors of a matrix product and of the transform are below 2e-8.
"""

_REDUCED_BY_PILLOW: Final = "b75ff1a38aa7c664fe103c04b8ccf7eb81b73108e8391bdc6ea5521a803f3002"
"""The SHA-256 of what `_check_pillow` reduces, under Pillow 9.5 to 13."""


def phash_1(image: "Image.Image") -> PerceptualHash:
    """Hash a picture without alpha as ``imagehash.phash`` of ImageHash 4.3 does with Pillow 9.5 to 12.

    Grey with Pillow's integer weights, 32x32 with Lanczos, width before height and each rounded to 8 bits, DCT-II on
    both axes, the 8x8 lowest coefficients with the constant one, a bit set where the coefficient is above the mean of
    the two middle ones, row by row, first bit highest.

    Parameters
    ----------
    image
        A checked picture (:func:`crynux_validate.hashing.images.open_picture` with `READS`).

    Raises
    ------
    PipelineError
        If the installed Pillow makes pictures smaller with other samples.
    """
    import numpy as np

    _check_pillow()
    samples = _reduced(image)
    basis = _basis()
    low = (basis @ samples @ basis.T).ravel()
    below, above = _middle(low)
    if above - below < _SURE:
        low = lowest_coefficients(samples).ravel()
        below, above = _middle(low)
    bits = np.packbits(low > (below + above) / 2).tobytes()
    # The median lies between the two middle ones; rounded, for a flat picture's differences are noise of the sums.
    return PerceptualHash(bits, "phash/1", round((above - below) / 2, 6))


def _reduced(image: "Image.Image") -> "NDArray[np.uint8]":
    """Return 32x32 grey samples. Two calls: in one, the order of the axes depends on the version of Pillow."""
    import numpy as np
    from PIL import Image

    grey = image if image.mode == "L" else image.convert("L")
    narrow = grey.resize((_SIDE, grey.height), Image.Resampling.LANCZOS)
    small = narrow.resize((_SIDE, _SIDE), Image.Resampling.LANCZOS)
    return np.frombuffer(small.tobytes(), np.uint8).reshape(_SIDE, _SIDE)


def _middle(values: "NDArray[np.float64]") -> list[float]:
    import numpy as np

    middle: list[float] = np.sort(values)[_MIDDLE - 1 : _MIDDLE + 1].tolist()
    return middle


@cache
def _check_pillow() -> None:
    """Refuse a Pillow whose grey or Lanczos gives other bits, since its hashes would not be ``phash/1``."""
    import PIL
    from PIL import Image

    found = hashlib.sha256()
    for size in ((37, 101), (90, 41), (5, 3)):
        samples = hashlib.shake_128(b"phash/1").digest(size[0] * size[1] * 3)
        found.update(_reduced(Image.frombytes("RGB", size, samples)).tobytes())
    if found.hexdigest() != _REDUCED_BY_PILLOW:
        raise PipelineError(
            f"the installed Pillow {PIL.__version__} gives other hashes than Pillow 9.5 to 13, which phash/1 is defined"
            " by: pip install 'pillow==13.0.0'"
        )


@cache
def _basis() -> "NDArray[np.float64]":
    """The first 8 of the 32 rows of the unscaled DCT-II, as scipy defines it: 2·cos(π·k·(2n+1)/64)."""
    import numpy as np

    frequency, position = np.ogrid[:_LOW, :_SIDE]
    basis: NDArray[np.float64] = 2 * np.cos(np.pi * frequency * (2 * position + 1) / (2 * _SIDE))
    return basis
