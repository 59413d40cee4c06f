"""``phash/1``: exactly the bits of ImageHash's ``phash``."""

from functools import cache
from typing import TYPE_CHECKING, Final

from crynux_validate.errors import PipelineError
from crynux_validate.hashing.images import Reads
from crynux_validate.hashing.perceptual import PerceptualHash

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

READS: Final = Reads(
    modes=("1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr", "HSV", "I", "I;16", "I;16L", "I;16B", "I;16N")
)
"""Modes without alpha whose conversion to 8-bit grey is defined; values above 255 are clipped."""

_SIDE: Final = 32
_LANCZOS: Final = 1  # PIL.Image.Resampling.LANCZOS, whose import waits until a picture is hashed
_LOW: Final = 8
_MIDDLE: Final = _LOW * _LOW // 2


def phash_1(image: "Image.Image") -> PerceptualHash:
    """Hash a picture without alpha as ``imagehash.phash`` of ImageHash 4.3 does.

    Grey with Pillow's integer weights, 32x32 with Lanczos, DCT-II on both axes, the 8x8 lowest coefficients with the
    constant one, a bit set where the coefficient is above the median of the 64, row by row, first bit highest.

    Parameters
    ----------
    image
        A checked picture (:func:`crynux_validate.hashing.images.open_picture` with `READS`).

    Raises
    ------
    PipelineError
        The installed ImageHash is not one that computes ``phash/1``.
    """
    import imagehash
    import numpy as np
    from PIL import Image

    # The picture is reduced here, and the library is called on the reduced samples: the bits are its own, and the
    # margin comes from the same samples without reducing the large picture twice.
    small = image.convert("L").resize((_SIDE, _SIDE), Image.Resampling.LANCZOS)
    samples = np.frombuffer(small.tobytes(), np.uint8).reshape(_SIDE, _SIDE)
    bits = np.packbits(imagehash.phash(_Reduced(samples)).hash).tobytes()  # type: ignore[arg-type]
    return PerceptualHash(bits, "phash/1", _margin(samples))


class _Reduced:
    """What the library sees of a picture: one that is grey and 32x32 already, so that reducing it changes nothing.

    A Pillow image of that size would do as well, but copying it twice and reading its samples again costs 2% of the
    whole at 512x512.
    """

    def __init__(self, samples: "NDArray[np.uint8]") -> None:
        self._samples = samples

    def convert(self, mode: str) -> "_Reduced":
        if mode != "L":
            raise _another_library(f"mode {mode}")
        return self

    def resize(self, size: tuple[int, int], resample: int) -> "_Reduced":
        if size != (_SIDE, _SIDE) or resample != _LANCZOS:
            raise _another_library(f"{size} with filter {resample}")
        return self

    def __array__(self, dtype: object = None, copy: bool | None = None) -> "NDArray[np.uint8]":
        return self._samples


def _another_library(wanted: str) -> PipelineError:
    return PipelineError(
        f"the installed ImageHash reduces pictures to {wanted}; phash/1 is defined by ImageHash 4.3:"
        " pip install 'imagehash==4.3.2'"
    )


def _margin(samples: "NDArray[np.uint8]") -> float:
    """Return the smallest gap between one of the 64 low coefficients and their median.

    Rounded to six digits: what is smaller is the noise of summing 1024 float64 products, and a flat picture has 0.
    """
    basis = _basis()
    low = sorted((basis @ samples @ basis.T).ravel().tolist())
    # The median of 64 values lies between the two middle ones, and none is nearer to it than these.
    return round((low[_MIDDLE] - low[_MIDDLE - 1]) / 2, 6)


@cache
def _basis() -> "NDArray[np.float64]":
    """The first 8 of the 32 rows of the unscaled DCT-II, as scipy defines it: 2·cos(π·k·(2n+1)/64)."""
    import numpy as np

    frequency, position = np.ogrid[:_LOW, :_SIDE]
    basis: NDArray[np.float64] = 2 * np.cos(np.pi * frequency * (2 * position + 1) / (2 * _SIDE))
    return basis
