"""``phash-go/1``: exactly the bits that nodes of the live network submit.

These nodes call the Go package goimagehash (``PerceptionHash``, version 1.1.0, on amd64) on the PNG files that they
made. Two of its steps round: making the picture smaller, and the cosine transform. Both are computed here in the same
order, the first in integers, the second in float64 sums, differences and quotients, which IEEE 754 defines to the last
bit. So the hash does not depend on the processor or on a numeric library.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from crynux_validate.encoding import shorten
from crynux_validate.errors import InvalidImageError
from crynux_validate.hashing.images import Reads
from crynux_validate.hashing.perceptual import PerceptualHash
from crynux_validate.hashing.phash_go_cosines import COSINES

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

    Samples: TypeAlias = "NDArray[np.uint8] | NDArray[np.uint16]"
    Floats: TypeAlias = "NDArray[np.floating[Any]]"
else:
    Samples = Floats = object

_SIDE: Final = 64
_LOW: Final = 8
_MIDDLE: Final = _LOW * _LOW // 2

_MAX_SIDE: Final = 2**20
"""From twice this on, the original's 32-bit sums overflow."""

_AT_ONCE: Final = 3 * 2**15
"""The number of samples that are floating-point numbers at once: as float32 they take 384 KiB of the cache.

For larger products (from 2^19 multiplications) OpenBLAS starts threads of its own, which spin while they wait for each
other. On a busy machine such a product takes hundreds of times as long.
"""

_BLOCK: Final = 16
"""How many outputs share one matrix of weights: more means more zeros, fewer means more calls."""

_CACHED_SIDE: Final = 4096

_SURE: Final = 1e-3
"""If the two middle coefficients are farther apart than this, the rounding of sums cannot change the hash.

Samples are at most 256, so coefficients at most 2^20. Summed as a matrix product their errors are below 2e-8. The
recursion divides by at least 0.049, 0.098, ... 1.41 on its way, which enlarges an error 2,500 times at most and bounds
its own by 1e-5; what tests see is below 1e-6.
"""


def phash_go_1(image: "Image.Image") -> PerceptualHash:
    """Hash a picture as the live network does.

    64x64 with a triangle filter and truncating divisions, width before height; grey as
    0.299·R + 0.587·G + 0.114·B in float64; unscaled DCT-II by Lee's recursion, rows before columns; the 8x8 lowest
    coefficients with the constant one, a bit set where the coefficient is above the mean of the two middle ones, row by
    row, first bit highest.

    Parameters
    ----------
    image
        A checked picture (:func:`crynux_validate.hashing.images.open_picture` with `READS`). Colours are multiplied by
        alpha, as in goimagehash: the background is black. A picture in memory has the hash of the PNG file that it can
        be saved as.

    References
    ----------
    B. G. Lee, "A new algorithm to compute the discrete cosine transform", IEEE Transactions on Acoustics, Speech and
    Signal Processing 32, 1984.
    """
    import numpy as np

    grey = _grey(_reduced(image))
    basis = _basis()
    low = (basis @ grey @ basis.T).ravel()
    below, above = _middle(low)
    if above - below < _SURE:
        low = _lowest(grey).ravel()
        below, above = _middle(low)
    bits = np.packbits(low > below / 2 + above / 2).tobytes()
    # The median lies between the two middle ones; rounded, for a flat picture's differences are noise of the sums.
    return PerceptualHash(bits, "phash-go/1", round((above - below) / 2, 6))


def _middle(values: "NDArray[np.float64]") -> list[float]:
    import numpy as np

    middle: list[float] = np.sort(values)[_MIDDLE - 1 : _MIDDLE + 1].tolist()
    return middle


# ------------------------------------------------------------------------------------------------ samples


def _check(image: "Image.Image", what: str) -> None:
    """Refuse pictures that Go decodes otherwise than Pillow, before a pixel is decoded."""
    if image.format not in (None, "PNG"):
        reason = (
            "JPEG decoders differ in the last bits of samples"
            if image.format in ("JPEG", "MPO")
            else "the live network hashes other formats with other arithmetic"
        )
        raise InvalidImageError(
            f"{what} is a {image.format} file; phash-go/1 takes PNG files and pictures in memory only, because"
            f" {reason}: to hash the pixels that Pillow decodes, pass image.convert('RGB')"
        )
    if max(image.size) > _MAX_SIDE:
        raise InvalidImageError(
            f"{what} is {image.width}x{image.height}; phash-go/1 takes at most {_MAX_SIDE} pixels along a side (sums of"
            " 32 bits overflow in larger pictures): make the picture smaller"
        )
    # How the file holds its samples is known until it is decoded; afterwards it is a picture of 8-bit samples.
    raw = next((str(tile[3]) for tile in getattr(image, "tile", ())), "")
    keyed = "transparency" in image.info
    if (raw.endswith("16B") and image.mode != "I;16") or (image.mode == "I;16" and keyed):
        raise InvalidImageError(
            f"{what} has 16-bit samples with colour or alpha, of which Pillow reads 8 bits only; phash-go/1 needs all:"
            " save the picture with 8 bits"
        )
    if keyed and (raw in ("L;2", "L;4") or image.mode == "1"):
        raise InvalidImageError(
            f"{what} is grey with fewer than 8 bits and a transparent shade, which phash-go/1 does not take: save the"
            " picture with 8 bits"
        )

    match image.mode, image.info.get("transparency"):
        case ("P", bytes(shades)) if len(shades) <= 256:
            pass
        case ("P", int(shade)) if 0 <= shade < 256:
            pass
        case ("L", int()) | ("RGB", (int(), int(), int())) | (_, None) | ("LA" | "RGBA", _):
            pass
        case mode, key:
            raise InvalidImageError(
                f"{what} has the transparent colour {shorten(key)}, which the mode {mode} does not have: delete"
                " image.info['transparency'], or pass image.convert('RGBA')"
            )


READS: Final = Reads(modes=("1", "L", "LA", "P", "RGB", "RGBA", "I;16"), alpha=True, check=_check)


def _planes(image: "Image.Image") -> "Iterator[Samples]":
    """Yield one array (height, width) for each plane: grey, or red, green and blue; colours times alpha."""
    import numpy as np

    planes: Iterable[NDArray[np.uint8]]
    alpha = None
    match image.mode:
        case "I;16":
            yield np.frombuffer(image.tobytes(), "<u2").reshape(image.height, image.width)
            return
        case "P":
            index = _plane(image)
            yield from (plane[index] for plane in _palette(image))
            return
        case "RGB" | "RGBA":
            planes = (_plane(image, name) for name in "RGB")  # one at a time: a plane fits into the cache
            if image.mode == "RGBA":
                alpha = _plane(image, "A")
        case "LA":
            grey, alpha = (_plane(band) for band in image.split())
            planes = [grey]
        case _:  # "1" and "L"
            planes = [_plane(image.convert("L"))]
    key = image.info.get("transparency")
    if alpha is None and key is not None:
        planes = [*planes]
        shades = key if isinstance(key, tuple) else (key,)
        same = [plane == shade & 0xFF for plane, shade in zip(planes, shades, strict=True)]
        alpha = np.where(np.logical_and.reduce(same), np.uint8(0), np.uint8(255))
    yield from planes if alpha is None else (_times(plane, alpha) for plane in planes)


def _times(plane: "NDArray[np.uint8]", alpha: "NDArray[np.uint8]") -> "Samples":
    import numpy as np

    if plane.shape == (_SIDE, _SIDE):
        # What needs no reducing reaches the original's arithmetic as 16-bit samples.
        return (plane.astype(np.uint32) * 257 * alpha // 255).astype(np.uint16)
    return (plane.astype(np.uint16) * alpha // 255).astype(np.uint8)


def _palette(image: "Image.Image") -> "NDArray[np.uint16]":
    """Return red, green and blue of the 256 indices, 16-bit samples times alpha; shape (3, 256)."""
    import numpy as np

    colours = np.zeros((256, 4), np.uint32)
    colours[:, 3] = 255
    stored = np.array(image.getpalette("RGBA"), np.uint32).reshape(-1, 4)
    colours[: len(stored)] = stored
    key = image.info.get("transparency")
    if key is not None:
        colours[:, 3] = 255
    if isinstance(key, bytes):
        colours[: len(key), 3] = np.frombuffer(key, np.uint8)
    elif key is not None:
        colours[key, 3] = 0
    return (colours[:, :3] * 257 * colours[:, 3:] // 255).astype(np.uint16).T


def _plane(image: "Image.Image", name: str | None = None) -> "NDArray[np.uint8]":
    """Return the samples of a picture of one plane, or those of the plane that is named."""
    import numpy as np

    data = image.tobytes() if name is None else image.tobytes("raw", name)
    return np.frombuffer(data, np.uint8).reshape(image.height, image.width)


# ------------------------------------------------------------------------------------------------ 64x64


@dataclass(frozen=True)
class _Axis:
    """How one axis of a picture becomes 64 samples long.

    Parameters
    ----------
    blocks
        For each `_BLOCK` outputs the first place and the one after the last that they are made of, and their weights,
        of shape (places, outputs).
    sums
        The sum of each output's weights, of shape (64,); of shape (1,) where all are equal.
    """

    blocks: "tuple[tuple[int, int, Floats], ...]"
    sums: "Floats"


def _reduced(image: "Image.Image") -> "Samples":
    """Return the picture as samples of shape (planes, 64, 64)."""
    import numpy as np

    if image.size == (_SIDE, _SIDE):
        return np.array([*_planes(image)])
    narrow = np.concatenate([_narrow(plane) for plane in _planes(image)], axis=1)
    return _short(narrow).reshape(_SIDE, -1, _SIDE).transpose(1, 0, 2)


def _narrow(samples: "Samples") -> "Samples":
    """Reduce the second axis to 64 samples, each the whole part of a weighted mean.

    All numbers are integers that the floating-point type holds exactly, so the products may be summed in any order; a
    quotient of two such integers, correctly rounded, never reaches the next integer from below.
    """
    import numpy as np

    height, width = samples.shape
    axis = _axis(width, samples.itemsize)
    narrow = np.empty((height, _SIDE), samples.dtype)
    rows = min(max(_AT_ONCE // width, 1), height)
    exact = np.empty((rows, width), axis.sums.dtype)
    means = np.empty((rows, _SIDE), axis.sums.dtype)
    for top in range(0, height, rows):
        part = samples[top : top + rows]
        exact, means = exact[: len(part)], means[: len(part)]  # the last part may have fewer rows
        exact[:] = part
        for output, (first, last, weights) in zip(range(0, _SIDE, _BLOCK), axis.blocks, strict=True):
            np.matmul(exact[:, first:last], weights, out=means[:, output : output + _BLOCK])
        means /= axis.sums
        narrow[top : top + rows] = means
    return narrow


def _short(samples: "Samples") -> "Samples":
    """Reduce the first axis to 64 samples; the columns of all planes lie side by side, which needs no transposing."""
    import numpy as np

    height, width = samples.shape
    axis = _axis(height, samples.itemsize)
    short = np.empty((_SIDE, width), samples.dtype)
    columns = min(max(_AT_ONCE // height, _BLOCK), width)
    exact = np.empty((height, columns), axis.sums.dtype)
    means = np.empty((_SIDE, columns), axis.sums.dtype)
    for left in range(0, width, columns):
        part = samples[:, left : left + columns]
        exact, means = exact[:, : part.shape[1]], means[:, : part.shape[1]]
        exact[:] = part
        for output, (first, last, weights) in zip(range(0, _SIDE, _BLOCK), axis.blocks, strict=True):
            np.matmul(weights.T, exact[first:last], out=means[output : output + _BLOCK])
        means /= axis.sums[:, None]
        short[:, left : left + columns] = means
    return short


def _axis(size: int, itemsize: int) -> _Axis:
    # Large matrices are not kept: strangers choose the sizes of pictures.
    return (_cached_axis if size <= _CACHED_SIDE else _new_axis)(size, itemsize)


def _new_axis(size: int, itemsize: int) -> _Axis:
    """Return the weights for samples of one or two bytes: a triangle, widened for shrinking, in parts of a unit."""
    import numpy as np

    unit, largest = (256, 0xFF) if itemsize == 1 else (65536, 0xFFFF)
    scale = size / _SIDE
    taps = 2 * max(-(-size // _SIDE), 1)
    centre = scale * (np.arange(_SIDE) + 0.5) - 0.5
    start = np.trunc(centre) - taps // 2 + 1
    offset = ((centre - start)[:, None] - np.arange(taps)) * min(1 / scale, 1.0)
    weights = np.trunc(np.maximum(1 - np.abs(offset), 0) * unit)
    places = np.clip(start[:, None] + np.arange(taps), 0, size - 1).astype(np.intp)
    sums = weights.sum(axis=1)
    # Every sum of products is an integer of at most this size; float32 holds integers up to 2^24.
    dtype: type[np.floating[Any]] = np.float32 if sums.max() * largest < 2**24 else np.float64
    blocks: list[tuple[int, int, Floats]] = []
    for output in range(0, _SIDE, _BLOCK):
        near = places[output : output + _BLOCK]
        first, last = int(near.min()), int(near.max()) + 1
        matrix: Floats = np.zeros((last - first, _BLOCK), dtype)
        # Places beyond the edge are the edge, whose weights add up.
        np.add.at(matrix, (near - first, np.arange(_BLOCK)[:, None]), weights[output : output + _BLOCK])
        blocks.append((first, last, matrix))
    # Sides that are a multiple of 64 have one sum, and numbers are divided by one faster than by a row of them.
    return _Axis(tuple(blocks), (sums[:1] if (sums == sums[0]).all() else sums).astype(dtype))


_cached_axis = lru_cache(maxsize=16)(_new_axis)


# ------------------------------------------------------------------------------------------------ transform


def _grey(planes: "Samples") -> "NDArray[np.float64]":
    """Weigh the colours; of 16-bit samples, blue is divided by another number than red and green."""
    import numpy as np

    if planes.dtype == np.uint16:
        planes = np.stack([planes[0] // 257, planes[len(planes) // 2] // 257, planes[-1] // 256])
    grey: NDArray[np.float64] = 0.299 * planes[0] + 0.587 * planes[len(planes) // 2] + 0.114 * planes[-1]
    return grey


def _lowest(grey: "NDArray[np.float64]") -> "NDArray[np.float64]":
    """Return the 8x8 lowest coefficients of the unscaled DCT-II of 64x64 samples, rows first."""
    return _transform(_transform(grey.T, _LOW).T, _LOW)


def _transform(samples: "NDArray[np.float64]", keep: int) -> "NDArray[np.float64]":
    """Return the first `keep` rows of the unscaled DCT-II of 64 rows.

    Lee's recursion: the even coefficients are those of the sums of mirrored samples; the odd ones are sums of
    neighbouring coefficients of the differences, each divided by twice a cosine. The order of the operations decides
    the last bits, and those decide the hash of a symmetric picture.
    """
    import numpy as np

    columns = samples.shape[1]
    blocks = samples[None]  # of one length each: those of sums and of differences in turn
    for half in (32, 16, 8, 4, 2, 1):
        first, mirrored = blocks[:, :half], blocks[:, : half - 1 : -1]
        both = np.empty((len(blocks), 2, half, columns))
        np.add(first, mirrored, out=both[:, 0])
        np.subtract(first, mirrored, out=both[:, 1])
        both[:, 1] /= _cosines(half)
        blocks = both.reshape(-1, half, columns)
    for half in (1, 2, 4, 8, 16, 32):
        even, odd = blocks[::2], blocks[1::2]
        merged = np.empty((len(even), half, 2, columns))
        merged[:, :, 0] = even
        np.add(odd[:, :-1], odd[:, 1:], out=merged[:, :-1, 1])
        merged[:, -1, 1] = odd[:, -1]  # the last has no neighbour
        blocks = merged.reshape(-1, 2 * half, columns)
    lowest: NDArray[np.float64] = blocks[0, :keep]
    return lowest


@cache
def _cosines(half: int) -> "NDArray[np.float64]":
    import numpy as np

    return np.array(COSINES[half])[:, None]


@cache
def _basis() -> "NDArray[np.float64]":
    """The first 8 rows of the unscaled DCT-II: cos(π·k·(2n+1)/128)."""
    import numpy as np

    frequency, position = np.ogrid[:_LOW, :_SIDE]
    basis: NDArray[np.float64] = np.cos(np.pi * frequency * (2 * position + 1) / (2 * _SIDE))
    return basis
