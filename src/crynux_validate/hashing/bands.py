"""``keyed/1``: values of a picture for each band, under a key that nobody knew before (protocol, "Keyed values").

A band is the detail of one size: what a grid of n x n fields shows and a grid of half as many fields does not. The key
gives every number of a band a sign and one of 30 sums. The sums are in units of the picture's own contrast in the band.
Nobody can make a picture for a key that is not known yet. If two pictures differ in a band, their sums differ, wherever
in the picture the difference is.

All arithmetic is in integers. Importing this module loads neither numpy nor Pillow.
"""

import hashlib
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from crynux_validate.encoding import length_prefixed, shorten
from crynux_validate.errors import InvalidImageError, InvalidInputError
from crynux_validate.hashing.images import MAX_PIXELS, Picture, Reads, open_picture

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

READS: Final = Reads(modes=("L", "RGB"))
"""The modes of Pillow that a result can have."""

VALUES: Final = 30
"""The number of values of a band, one byte each."""

SIZE: Final = 1 + VALUES
"""The number of bytes of a band, its contrast first: sixteen pictures of eight bands fit into an opening of 4 KiB."""

STEPS: Final = 42
"""A value is in 42nds of the contrast, up to three times the contrast."""

LEAST_CONTRAST: Final = 4
"""The least contrast, in grey levels: below this a band is flat, and its values are noise."""

_MOST_STEPS: Final = 127

_PRECISION: Final = 64
_LUMA: Final = (77, 150, 29)
_LARGEST: Final = 256


@dataclass(frozen=True)
class Band:
    """One band of a picture.

    Parameters
    ----------
    name
        The name of the band.
    side
        The number of fields of the band's grid along each side. A picture has the band if its shorter side has at least
        as many pixels.
    colour
        True for the two colour differences, False for brightness.
    base
        True for the grid itself, False for what a grid of half as many fields does not show.
    """

    name: str
    side: int
    colour: bool = False
    base: bool = False

    @property
    def places(self) -> int:
        """The number of numbers in the band."""
        return self.side**2 * (2 if self.colour else 1)


BANDS: Final = (
    Band("luma-8", 8, base=True),
    Band("luma-16", 16),
    Band("chroma-16", 16, colour=True, base=True),
    Band("luma-32", 32),
    Band("luma-64", 64),
    Band("chroma-64", 64, colour=True),
    Band("luma-128", 128),
    Band("luma-256", 256),
)
"""All bands, coarse ones first. A picture has the first so many of them."""

SMALLEST: Final = BANDS[0].side


def bands_of(width: int, height: int) -> tuple[Band, ...]:
    """Return the bands of a picture of this size in pixels: those that its shorter side has pixels for.

    Raises
    ------
    InvalidImageError
        For a picture with fewer than 8 pixels along a side.
    """
    found = tuple(band for band in BANDS if band.side <= min(width, height))
    if not found:
        raise InvalidImageError(
            f"the picture is {width}x{height}; keyed/1 needs at least {SMALLEST} pixels on each side: give a larger one"
        )
    return found


class Key:
    """The sign and the sum of every number of every band, from a seed. One key serves all pictures of a group.

    Parameters
    ----------
    seed
        32 bytes: `Group.second_seed`.

    Raises
    ------
    InvalidInputError
        If the seed is not 32 bytes.
    """

    def __init__(self, seed: bytes) -> None:
        if not isinstance(seed, bytes) or len(seed) != hashlib.sha256().digest_size:
            raise InvalidInputError(f"the seed is {shorten(seed)}; expected the 32 bytes of Group.second_seed")
        self.seed = seed
        self._words: dict[str, tuple[NDArray[np.int64], NDArray[np.int64]]] = {}

    def words(self, band: Band) -> "tuple[NDArray[np.int64], NDArray[np.int64]]":
        """Return for each number of a band the index of its sum, 0 to 29, and its sign, 1 or -1."""
        import numpy as np

        if band.name not in self._words:
            head = length_prefixed("crynux-validate/keyed-values/1") + self.seed + length_prefixed(band.name)
            stream = hashlib.shake_128(head).digest(2 * band.places)
            words = np.frombuffer(stream, ">u2").astype(np.int64)
            self._words[band.name] = ((words >> 1) * VALUES) >> 15, 1 - 2 * (words & 1)
        return self._words[band.name]

    def values(self, image: Picture, *, max_pixels: int = MAX_PIXELS) -> bytes:
        """Return the values of a picture: 31 bytes for each of its bands, its contrast and 30 signed values.

        Parameters
        ----------
        image
            As for `image_hash`, 8-bit grey or RGB, without alpha.
        max_pixels
            The largest width x height that is decoded.

        Raises
        ------
        InvalidImageError
            As for `image_hash`, and for a picture with fewer than 8 pixels along a side.
        """
        import numpy as np

        opened = open_picture(image, READS, background=None, max_pixels=max_pixels)
        found = []
        for band, (numbers, scale) in features(opened).items():
            sums = np.zeros(VALUES, np.int64)
            into, signs = self.words(band)
            np.add.at(sums, into, signs * numbers)
            level = contrast(numbers, scale)
            unit = math.isqrt(scale * scale * band.places // VALUES) * level
            steps = ((2 * STEPS * sums + unit) // (2 * unit)).clip(-_MOST_STEPS, _MOST_STEPS)
            found += [bytes([level]), steps.astype(np.int8).tobytes()]
        return b"".join(found)


def contrast(numbers: "NDArray[np.int64]", scale: int) -> int:
    """Return the root mean square of a band's numbers in whole grey levels, rounded down, 4 to 255."""
    sixteenths = 16 * numbers // scale
    return max(LEAST_CONTRAST, math.isqrt(int(sixteenths @ sixteenths) // numbers.size) // 16)


def features(image: "Image.Image") -> "dict[Band, tuple[NDArray[np.int64], int]]":
    """Return the numbers of each band of a picture, and the number that is one grey level."""
    import numpy as np

    bands = bands_of(image.width, image.height)
    side = 1 << (min(image.width, image.height, _LARGEST).bit_length() - 1)
    fields = _fields(image, side)
    luma = {side: fields @ np.array(_LUMA, np.int64) - 128 * 256 * _PRECISION}
    chroma = {side: np.stack([fields[..., 0] - fields[..., 1], fields[..., 2] - fields[..., 1]])}
    for sums in (luma, chroma):
        for below in (side >> at for at in range(side.bit_length() - SMALLEST.bit_length())):
            sums[below // 2] = _quartered(sums[below])
    found = {}
    for band in bands:
        sums, level = (chroma, _PRECISION) if band.colour else (luma, _PRECISION * 256)
        numbers, scale = sums[band.side], level * (side // band.side) ** 2
        if not band.base:
            numbers, scale = 4 * numbers - sums[band.side // 2].repeat(2, -2).repeat(2, -1), 4 * scale
        found[band] = numbers.ravel(), scale
    return found


def _quartered(grid: "NDArray[np.int64]") -> "NDArray[np.int64]":
    """Return the sums of two by two fields."""
    rows = grid[..., 0::2, :] + grid[..., 1::2, :]
    return rows[..., 0::2] + rows[..., 1::2]


def _fields(image: "Image.Image", side: int) -> "NDArray[np.int64]":
    """Return the means of red, green and blue in side x side equal fields, in 64ths of a grey level, rounded.

    A pixel that lies in several fields counts in each with the part that lies there.
    """
    import numpy as np

    samples = np.asarray(image)
    if samples.ndim == 2:
        samples = samples[:, :, None]
    rows, tall = _along(samples, side, 0)
    sums, wide = _along(rows, side, 1)
    area = image.width * image.height * tall * wide // side**2  # the sums of a picture of ones
    rounded = (2 * _PRECISION * sums.astype(np.int64) + area) // (2 * area)
    return rounded if rounded.shape[2] == 3 else rounded.repeat(3, 2)


def _along(samples: "NDArray[Any]", side: int, axis: int) -> "tuple[NDArray[Any], int]":
    """Return the sums of equal fields along an axis, and the length of a pixel: 1, or `side` if a pixel is cut."""
    import numpy as np

    length = samples.shape[axis]
    if length % side == 0:
        step = length // side
        every = [samples[at::step] if axis == 0 else samples[:, at::step] for at in range(step)]
        summed: NDArray[Any] = every[0].astype(np.int64 if samples.dtype == np.int64 else np.uint32)
        for part in every[1:]:
            summed = summed + part
        return summed, 1
    pixel, part = np.divmod(length * np.arange(side + 1), side)
    upto = np.insert(np.cumsum(samples, axis=axis, dtype=np.int64), 0, 0, axis=axis).take(pixel, axis)
    inside = samples.take(np.minimum(pixel, length - 1), axis)  # the last part is 0
    shape = [-1 if at == axis else 1 for at in range(samples.ndim)]
    return np.diff(side * upto + part.reshape(shape) * inside, axis=axis), side


def bands_apart(a: bytes, b: bytes) -> list[int]:
    """Return the squared distance of two pictures' values in each band (protocol J7).

    It is the sum over the 30 values of (a's value * a's contrast - b's value * b's contrast)^2, divided by the square
    of the lesser contrast, rounded up.

    Parameters
    ----------
    a, b
        Values as `Key.values` returns them, of equal length.
    """
    found = []
    for at in range(0, len(a), SIZE):
        (ours, *first), (theirs, *second) = a[at : at + SIZE], b[at : at + SIZE]
        squares = sum((_signed(x) * ours - _signed(y) * theirs) ** 2 for x, y in zip(first, second, strict=True))
        found.append(-(-squares // min(ours, theirs) ** 2))
    return found


def _signed(byte: int) -> int:
    return (byte ^ 128) - 128


def misfit(values: bytes) -> str:
    """Return why no picture has these values; empty if one can have them."""
    if len(values) % SIZE or not values:
        return f"{len(values)} bytes, not {SIZE} for each band"
    least = min(values[::SIZE])
    if least < LEAST_CONTRAST:
        return f"a contrast of {least} grey levels, below {LEAST_CONTRAST}"
    steps = (values[at : at + VALUES] for at in range(1, len(values), SIZE))
    return f"the value -128, below -{_MOST_STEPS}" if any(128 in band for band in steps) else ""
