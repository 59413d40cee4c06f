"""The pictures that a task is given, from their files: refused unless every machine reads the same pixels from them."""

from typing import TYPE_CHECKING, Final

from crynux_validate.errors import InvalidImageError, PipelineError
from crynux_validate.hashing.images import Reads, open_picture
from crynux_validate.tasks.base import BaseTask
from crynux_validate.tasks.image import ImageTask
from crynux_validate.tasks.pictures import Picture

if TYPE_CHECKING:
    from PIL import Image

MAX_PIXELS: Final = 2**24
"""The most pixels of a picture: 4,096 x 4,096, as large as an image task may be."""


def read_picture(name: str, picture: Picture, size: tuple[int, int] | None = None) -> "Image.Image":
    """Return a picture of a task: 8-bit RGB.

    Parameters
    ----------
    name
        The task's field, for messages.
    picture
        With its data.
    size
        The width and height that it must have, in pixels; None for any.

    Raises
    ------
    PipelineError
        Where the file is not there, is no PNG of 8-bit RGB or grey without alpha, is broken, or has another size.
    """
    if picture.data is None:
        raise PipelineError(f"{name}: the file of {picture} is not here; name it: task.at(path)")

    def check(image: "Image.Image", what: str) -> None:
        if image.format != "PNG":
            raise InvalidImageError(f"{what} is {image.format}; expected PNG, which all machines read alike")
        if size is not None and image.size != size:
            found, wanted = ("x".join(map(str, each)) for each in (image.size, size))
            raise InvalidImageError(f"{what} is {found}; expected {wanted}, as the task's images: resize the picture")

    try:
        reads = Reads(("RGB", "L"), check=check)
        return open_picture(picture.data, reads, background=None, max_pixels=MAX_PIXELS).convert("RGB")
    except InvalidImageError as error:
        raise PipelineError(f"{name}: {error}") from error


def check_pictures(task: BaseTask) -> None:
    """Refuse pictures that a task cannot be run with, before its model is loaded; errors as of `read_picture`."""
    size = (task.width, task.height) if isinstance(task, ImageTask) else None
    for name, picture in task.pictures().items():
        read_picture(name, picture, size)
