"""Opening pictures, and refusing pictures without a well-defined hash.

Files may come from anybody: only common formats are tried (for some others Pillow starts programs), and the size in the
header is checked before a pixel is decoded.
"""

import io
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Final, TypeAlias

from crynux_validate.encoding import check_integer
from crynux_validate.errors import InvalidImageError, InvalidInputError, needed_for
from crynux_validate.hashing.pillow_settings import never_raising, quiet, whole_files

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

    Picture: TypeAlias = "Image.Image | NDArray[np.uint8] | str | os.PathLike[str] | bytes"
else:
    Picture = object

Background: TypeAlias = str | tuple[int, int, int]
"""A colour as Pillow reads it: a name, ``#rrggbb``, ``rgb(...)``, or three integers in 0..255."""

MAX_PIXELS: Final = 2**26
"""The largest width x height that is decoded by default: 8192 x 8192."""

FORMATS: Final = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF", "PPM")
"""The file formats that are read, by Pillow's names."""


@dataclass(frozen=True)
class Reads:
    """The pictures for which an algorithm is defined.

    Parameters
    ----------
    modes
        Pillow's names of the modes, after a picture with alpha was put on a background.
    alpha
        Whether the algorithm defines what alpha means, so that a background is not needed.
    formats
        The file formats that an error names, where a file is of no format that is read.
    check
        A function that refuses other pictures before a pixel is decoded. It gets the opened picture and its name for
        error messages.
    """

    modes: tuple[str, ...]
    alpha: bool = False
    formats: tuple[str, ...] = FORMATS
    check: Callable[["Image.Image", str], None] | None = None


def open_picture(picture: Picture, reads: Reads, *, background: Background | None, max_pixels: int) -> "Image.Image":
    """Return a loaded picture that `reads` allows; other parameters and errors as for ``image_hash``."""
    check_integer(max_pixels, "max_pixels", 1, None)
    with needed_for("a hash of a picture", "hash"):
        import numpy as np  # noqa: F401
        import PIL  # noqa: F401
    with whole_files.only():
        return _opened(picture, reads, background, max_pixels)


def _opened(picture: Picture, reads: Reads, background: Background | None, max_pixels: int) -> "Image.Image":
    from PIL import Image

    if isinstance(picture, Image.Image):
        _check_header(picture, "the picture", max_pixels)
        return _decoded(picture, "the picture", reads, background)
    if isinstance(picture, bytes | bytearray | memoryview):
        what = f"the file of {len(picture)} bytes"
        return _from_file(io.BytesIO(picture), what, reads, background, max_pixels)
    if isinstance(picture, str | os.PathLike):
        path = os.fspath(picture)
        what = f"the file {path!r}"
        try:
            # A pipe or a device could block for ever or never end.
            if os.path.exists(path) and not os.path.isfile(path):
                kind = "a folder" if os.path.isdir(path) else "not a regular file"
                raise InvalidImageError(f"{what} is {kind}; expected the path of a picture")
            with open(path, "rb") as file:
                return _from_file(file, what, reads, background, max_pixels)
        except InvalidInputError:
            raise
        except (OSError, ValueError) as error:
            raise InvalidImageError(f"{what} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    return _decoded(_from_array(picture, max_pixels), "the array", reads, background)


def _from_file(
    file: IO[bytes], what: str, reads: Reads, background: Background | None, max_pixels: int
) -> "Image.Image":
    from PIL import Image, UnidentifiedImageError

    try:
        with quiet():
            image = Image.open(file, formats=FORMATS)
            _check_header(image, what, max_pixels)
    except InvalidInputError:
        raise
    except UnidentifiedImageError as error:
        expected = f"{'one of ' * (len(reads.formats) > 1)}{', '.join(reads.formats)}"
        raise InvalidImageError(f"{what} is not a picture; expected {expected}") from error
    except Image.DecompressionBombError as error:
        raise InvalidImageError(
            f"{what} has more than {max_pixels} pixels or more than Pillow's own limit"
            f" (twice PIL.Image.MAX_IMAGE_PIXELS): {error} Make the picture smaller, or raise both limits."
        ) from error
    except Exception as error:  # decoders of hostile bytes raise errors of any kind
        raise InvalidImageError(f"{what} is broken: {_reason(error)}") from error
    with image:
        return _decoded(image, what, reads, background)


def _check_header(image: "Image.Image", what: str, max_pixels: int) -> None:
    """Check all that is known without decoding a pixel."""
    width, height = image.size
    if width < 1 or height < 1:
        raise InvalidImageError(f"{what} is {width}x{height}; expected at least one pixel")
    if width * height > max_pixels:
        raise InvalidImageError(
            f"{what} is {width}x{height}, {width * height} pixels; expected at most {max_pixels}: make the picture"
            " smaller, or raise max_pixels if you trust its source"
        )
    try:
        with never_raising():
            frames = getattr(image, "n_frames", 1) if getattr(image, "is_animated", False) else 1
    except Exception as error:  # counting frames reads on in the file, whose bytes may be hostile
        raise InvalidImageError(f"{what} is broken: {_reason(error)}") from error
    if frames != 1:
        raise InvalidImageError(
            f"{what} has {frames} frames; expected one picture: choose a frame with image.seek(i) and pass image.copy()"
        )


def _decoded(image: "Image.Image", what: str, reads: Reads, background: Background | None) -> "Image.Image":
    """Check and decode the pixels, and put what has alpha on the background."""
    if reads.check is not None:
        reads.check(image, what)
    try:
        with never_raising():
            image.load()
        alpha = image.has_transparency_data
    except Exception as error:  # as above; Pillow reports most truncations as OSError, but not all
        raise InvalidImageError(f"{what} is broken or truncated: {_reason(error)}") from error
    if alpha and not (reads.alpha and background is None):
        if background is None:
            raise InvalidImageError(
                f"{what} has alpha (mode {image.mode}): invisible colours of transparent pixels would change the hash;"
                ' pass background="white", or hash image.convert("RGB") if all pixels are opaque'
            )
        return _flattened(image, what, background)
    if background is not None:
        _colour(background)
    if image.mode not in reads.modes:
        expected = ", ".join(reads.modes)
        raise InvalidImageError(
            f'{what} has mode {image.mode}; expected one of {expected}: convert it to "RGB" or "L" first'
        )
    return image


def _flattened(image: "Image.Image", what: str, background: Background) -> "Image.Image":
    from PIL import Image

    ground = Image.new("RGBA", image.size, (*_colour(background), 255))
    try:
        straight = image.convert("LA") if image.mode == "La" else image
        ground.alpha_composite(straight.convert("RGBA"))
    except (ValueError, OSError) as error:
        raise InvalidImageError(f"{what} (mode {image.mode}) cannot be flattened: {_reason(error)}") from error
    return ground.convert("RGB")


def _colour(background: Background) -> tuple[int, int, int]:
    from PIL import ImageColor

    colour: object = background
    if isinstance(background, str):
        try:
            colour = ImageColor.getrgb(background)
        except ValueError:
            colour = None
    match colour:
        case (int(red), int(green), int(blue)) if all(0 <= sample <= 255 for sample in (red, green, blue)):
            return red, green, blue
        case (int(red), int(green), int(blue), 255):
            return red, green, blue
    raise InvalidInputError(
        f"background is {background!r}; expected an opaque colour that Pillow knows, like 'white', '#ffffff' or"
        " (255, 255, 255)"
    )


def _from_array(array: object, max_pixels: int) -> "Image.Image":
    import numpy as np
    from PIL import Image

    if not isinstance(array, np.ndarray):
        raise InvalidImageError(
            f"the picture is of type {type(array).__name__}; expected a Pillow image, a numpy array of uint8, the path"
            " of a file, or its bytes"
        )
    found = f"the array has dtype {array.dtype} and shape {array.shape}"
    expected = "expected uint8 with shape (height, width) or (height, width, 3)"
    if array.dtype != np.uint8:
        raise InvalidImageError(f"{found}; {expected}: for floats in 0..1 pass (array * 255).round().astype(np.uint8)")
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (3, 4)):
        raise InvalidImageError(f"{found}; {expected}: move the channels last, one picture at a time")
    if 0 in array.shape:
        raise InvalidImageError(f"{found}; {expected}, and at least one pixel")
    height, width = array.shape[:2]
    if height * width > max_pixels:
        raise InvalidImageError(
            f"{found}, {height * width} pixels; expected at most {max_pixels}: make the picture smaller, or raise"
            " max_pixels"
        )
    return Image.fromarray(array)


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__
