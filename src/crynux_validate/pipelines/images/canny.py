"""``canny/1``: the edges of a picture, in integers alone (Canny, IEEE PAMI 8(6), 1986).

The bits are those of OpenCV's ``Canny(picture, low, high)`` with its other arguments at their defaults.
"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

_SHIFT: Final = 15
_TANGENT: Final = 13573
"""The tangent of 22.5 degrees, times 2^15, rounded."""


def canny(pixels: NDArray[np.uint8], low: int, high: int) -> NDArray[np.uint8]:
    """Find the edges of a picture.

    Parameters
    ----------
    pixels
        Shape (height, width, 3).
    low, high
        Where the gradient, |dx| + |dy| of the channel in which it is largest, is over `high`, a ridge of it is an
        edge; where it is over `low`, a ridge that such a one leads to.

    Returns
    -------
    array of uint8
        Shape (height, width): 255 on edges, 0 elsewhere.
    """
    across, down = _gradient(pixels)
    size = np.abs(across) + np.abs(down)
    ridge = _ridge(across, down, size) & (size > low)
    return np.where(_reached(ridge, ridge & (size > high)), 255, 0).astype(np.uint8)


def _gradient(pixels: NDArray[np.uint8]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Sobel's two differences, each pixel's of the first channel in which their sum is largest."""
    wide = np.pad(pixels.astype(np.int32), ((1, 1), (1, 1), (0, 0)), "edge")
    sides = wide[:, 2:] - wide[:, :-2]
    across = sides[:-2] + 2 * sides[1:-1] + sides[2:]
    ends = wide[2:] - wide[:-2]
    down = ends[:, :-2] + 2 * ends[:, 1:-1] + ends[:, 2:]
    largest = np.argmax(np.abs(across) + np.abs(down), axis=2)[:, :, None]
    return tuple(np.take_along_axis(each, largest, axis=2)[:, :, 0] for each in (across, down))  # type: ignore[return-value]  # two


def _ridge(across: NDArray[Any], down: NDArray[Any], size: NDArray[Any]) -> NDArray[np.bool_]:
    """Where the gradient is larger than on both sides, in the nearest of four directions; outside it is 0."""
    around = np.pad(size, 1)
    height, width = size.shape

    def at(dy: int, dx: int) -> NDArray[Any]:
        return around[1 + dy : 1 + dy + height, 1 + dx : 1 + dx + width]

    x, y = np.abs(across).astype(np.int64), np.abs(down).astype(np.int64) << _SHIFT
    flat, steep = x * _TANGENT, x * _TANGENT + (x << (_SHIFT + 1))
    falls = (across ^ down) < 0
    level = (size > at(0, -1)) & (size >= at(0, 1))
    upright = (size > at(-1, 0)) & (size >= at(1, 0))
    rising = (size > at(-1, -1)) & (size > at(1, 1))
    falling = (size > at(-1, 1)) & (size > at(1, -1))
    return np.where(y < flat, level, np.where(y > steep, upright, np.where(falls, falling, rising)))


def _reached(ridge: NDArray[np.bool_], strong: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """What of a ridge is connected with a strong point, over its eight neighbours.

    Every point hooks to the lowest that it touches, until nothing changes: however a ridge winds, that takes about as
    many rounds as the number of points has bits.
    """
    number = np.full((ridge.shape[0] + 1, ridge.shape[1] + 2), -1, dtype=np.int64)
    number[:-1, 1:-1][ridge] = np.arange(int(ridge.sum()))
    here = number[:-1, 1:-1]
    pairs = [
        np.stack([here, there])[:, (here >= 0) & (there >= 0)]
        for there in (number[:-1, 2:], number[1:, :-2], number[1:, 1:-1], number[1:, 2:])
    ]
    first, second = np.concatenate(pairs, axis=1)
    root = np.arange(int(ridge.sum()))
    while len(first):
        one, other = root[first], root[second]
        apart = one != other
        first, second, one, other = first[apart], second[apart], one[apart], other[apart]
        np.minimum.at(root, np.maximum(one, other), np.minimum(one, other))
        while not np.array_equal(above := root[root], root):
            root = above
    lit = np.zeros(len(root), dtype=bool)
    lit[root[strong[ridge]]] = True
    found = np.zeros_like(ridge)
    found[ridge] = lit[root]
    return found
