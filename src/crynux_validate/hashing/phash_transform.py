"""The cosine transform of ``phash/1``, with its operations in one fixed order.

Coefficients of a flat or symmetric picture can be equal in theory. The rounding of their sums then decides the last
bit, and this bit decides the hash. The order here is that of the pocketfft library in scipy 1.4 to 1.17: an inverse
real Fourier transform of half the symmetric sequence, by radix 2, 4 and 4. Each operation is one IEEE 754 sum,
difference or product, so every processor and every version of numpy gives the same bits.
"""

from functools import cache
from typing import TYPE_CHECKING, Any, Final, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats: TypeAlias = "NDArray[np.float64]"
    Pair: TypeAlias = "tuple[Floats, Floats]"
else:
    Floats = Pair = object

_LOW: Final = 8

# Each a cosine and a sine. Libraries disagree on the last bit of a cosine, so the numbers of the original are written
# down: not all of them are the correctly rounded ones.
_HALVES: Final = (
    (1.0, 0.9807852804032304, 0.9238795325112867, 0.8314696123025452, 0.7071067811865475, 0.5555702330196022,
     0.3826834323650898, 0.19509032201612825, 0.0),
    (0.0, 0.19509032201612825, 0.3826834323650898, 0.5555702330196022, 0.7071067811865476, 0.8314696123025452,
     0.9238795325112867, 0.9807852804032304, 1.0),
)  # fmt: skip
"""Of 2·π·i/32, for i in 0..8."""

_QUARTERS: Final = (
    ((1.0, 0.9238795325112867, 0.7071067811865476), (0.0, 0.3826834323650898, 0.7071067811865476)),
    ((1.0, 0.7071067811865475, 0.0), (0.0, 0.7071067811865476, 1.0)),
    ((1.0, 0.3826834323650898, -0.7071067811865476), (0.0, 0.9238795325112867, 0.7071067811865476)),
)
"""Of 2·π·i·j/16, for i in 0..2, for each j in 1..3; the eighth of a circle is used as half of the root of two."""

_NO_TURN: Final = (((1.0,), (0.0,)),) * 3
"""Of zero: the last step turns nothing."""

_LOWEST: Final = (
    (1.0, 0.9987954562051724, 0.9951847266721969, 0.989176509964781, 0.9807852804032304, 0.970031253194544,
     0.9569403357322088, 0.9415440651830208),
    (0.0, 0.04906767432741799, 0.09801714032956049, 0.14673047445536164, 0.19509032201612825, 0.24298017990326393,
     0.2902846772544623, 0.33688985339221994),
)  # fmt: skip
"""Of 2·π·k/128, for k in 0..7."""


def lowest_coefficients(samples: "NDArray[np.uint8]") -> "Floats":
    """Return the 8x8 lowest coefficients of the unscaled DCT-II of 32x32 samples, as scipy defines it.

    Columns are transformed before rows. The first coefficient is 4 times the sum of the samples.

    References
    ----------
    J. Makhoul, "A fast cosine transform in one and two dimensions", IEEE Transactions on Acoustics, Speech and Signal
    Processing 28, 1980.
    """
    return _transform(_transform(samples).T).T


def _transform(samples: "NDArray[Any]") -> "Floats":
    """Return the 8 lowest coefficients of each column of 32 samples; shape (8, columns)."""
    import numpy as np

    pairs = np.concatenate([samples[:1], samples, samples[-1:]], dtype=np.float64).reshape(17, 2, -1)
    first, second = pairs[:, 0], pairs[:, 1]
    real, imaginary = _halves((first + second)[None], (second - first)[None])
    real, imaginary = _quarters(*_quarters(real, imaginary))
    turned = real[:, 0]
    cosines, sines = _column(_LOWEST)
    mirrored = turned[-np.arange(_LOW)]
    found: Floats = 0.5 * ((cosines * mirrored + sines * turned[:_LOW]) + (cosines * turned[:_LOW] - sines * mirrored))
    return found


def _halves(real: "Floats", imaginary: "Floats") -> "Pair":
    """Return the spectra of the even and of the odd samples; a spectrum has shape (blocks, frequencies, columns)."""
    import numpy as np

    half = real.shape[1] // 2 + 1
    cosines, sines = _column(_HALVES)
    a, b, c, d = real[:, :half], imaginary[:, :half], real[:, ::-1][:, :half], imaginary[:, ::-1][:, :half]
    across, along = a - c, b + d
    return (
        np.concatenate([a + c, cosines * across - sines * along]),
        np.concatenate([b - d, cosines * along + sines * across]),
    )


def _quarters(real: "Floats", imaginary: "Floats") -> "Pair":
    """Return the spectra of every fourth sample, beginning with each of the first four."""
    import numpy as np

    quarter = (real.shape[1] - 1) // 2
    near = slice(0, quarter // 2 + 1)

    def pick(spectrum: "Floats") -> "tuple[Floats, Floats, Floats, Floats]":
        upward, downward = spectrum[:, quarter:], spectrum[:, quarter::-1]
        return spectrum[:, near], spectrum[:, ::-1][:, near], upward[:, near], downward[:, near]

    (a, b, c, d), (e, f, g, h) = pick(real), pick(imaginary)
    plus, minus, turn = a + b, a - b, g + h
    across, along, other = c + d, e + f, c - d
    down, up = e - f, g - h
    found = [(plus + across, down + up)]
    for (x, y), angles in zip(
        ((minus - turn, along + other), (plus - across, down - up), (minus + turn, along - other)),
        _QUARTERS if quarter > 1 else _NO_TURN,
        strict=True,
    ):
        cosines, sines = _column(angles)
        found.append((cosines * x - sines * y, cosines * y + sines * x))
    return np.concatenate([x for x, _ in found]), np.concatenate([y for _, y in found])


@cache
def _column(angles: "tuple[tuple[float, ...], tuple[float, ...]]") -> "Pair":
    """Return cosines and sines as arrays that multiply frequencies, of shape (frequencies, 1)."""
    import numpy as np

    cosines, sines = np.array(angles)[:, :, None]
    return cosines, sines
