"""Every image hash by its id; a new one is one file in this folder and one line here."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from crynux_validate.algorithms import ImageAlgorithm
from crynux_validate.hashing.images import MAX_PIXELS, Background, Picture, open_picture
from crynux_validate.hashing.perceptual import PerceptualHash, unknown_algorithm
from crynux_validate.hashing.phash import phash_1

if TYPE_CHECKING:
    from PIL import Image

_HASHES: Final[dict[ImageAlgorithm, Callable[["Image.Image"], PerceptualHash]]] = {
    "phash/1": phash_1,
}


def image_hash(
    image: Picture,
    algorithm: ImageAlgorithm = "phash/1",
    *,
    background: Background | None = None,
    max_pixels: int = MAX_PIXELS,
) -> PerceptualHash:
    """Reduce a picture to 64 bits that stay nearly the same when the picture nearly does.

    Parameters
    ----------
    image
        A Pillow image; a numpy array of uint8 with shape (height, width) for grey or (height, width, 3) for RGB; the
        path of a file; or the bytes of a file (PNG, JPEG, WebP, TIFF, BMP, GIF, PPM). The stored pixels count: an
        EXIF orientation is ignored.
    algorithm
        The id of the hash.
    background
        A picture with alpha is refused, since what hides under transparent pixels would decide the bits; a Pillow
        colour here (``"white"``, ``"#808080"``, ``(255, 255, 255)``) puts it on that ground instead.
    max_pixels
        The largest width x height that is decoded; a file's header is asked before its pixels are read.

    Raises
    ------
    InvalidImageError
        Not a picture, a broken or truncated file, several frames, alpha without a background, no pixels or too many,
        samples of another type than 8 bits can be made of.
    InvalidInputError
        An unknown algorithm or background, or a limit below 1.
    """
    hasher = _HASHES.get(algorithm) if isinstance(algorithm, str) else None
    if hasher is None:
        raise unknown_algorithm(algorithm)
    return hasher(open_picture(image, background=background, max_pixels=max_pixels))
