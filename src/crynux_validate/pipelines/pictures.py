"""Reading the pictures that a task names: the same pixels on every machine.

PNG alone: its pixels are the file's own. What a JPEG shows depends on who decodes it.
"""

from functools import partial
from typing import TYPE_CHECKING, Final

from crynux_validate.errors import InvalidInputError, PipelineError, needed_for
from crynux_validate.hashing.images import Reads, open_picture
from crynux_validate.tasks import ImageTask
from crynux_validate.tasks.base import BaseTask
from crynux_validate.tasks.pictures import PictureRef

if TYPE_CHECKING:
    from PIL import Image

MAX_PIXELS: Final = 1 << 24
"""The largest width x height of such a picture: 4096 x 4096."""


def read_picture(name: str, picture: PictureRef, size: tuple[int, int] | None = None) -> "Image.Image":
    """Return the pixels of a picture, mode RGB.

    Colour profiles, gamma and a turn that the file may ask for are not applied: its samples are taken as they are.

    Parameters
    ----------
    name
        The task's field, for messages.
    picture
        What the task names.
    size
        The width and height that it must have; None for any.

    Raises
    ------
    PipelineError
        Where this machine does not have it; where it is no PNG of one frame, of 8 bits or fewer for a sample and
        without alpha; and where it has more than 2^24 pixels, or another size.
    MissingExtraError
        Without Pillow or numpy.
    """
    with needed_for("a picture of a task", "hash"):
        import PIL  # noqa: F401
    try:
        data = picture.data()
        reads = Reads(_MODES, formats=("PNG",), check=partial(_check, size=size))
        return open_picture(data, reads, background=None, max_pixels=MAX_PIXELS).convert("RGB")
    except InvalidInputError as error:
        raise PipelineError(f"{name}: the picture {picture} cannot be used: {error}") from error
    except PipelineError as error:
        raise PipelineError(f"{name}: {error}") from error


def check_pictures(task: BaseTask) -> None:
    """Refuse pictures that a task cannot be run with, before its model is loaded; errors as of `read_picture`."""
    size = (task.width, task.height) if isinstance(task, ImageTask) else None
    for name, picture in task.pictures_named().items():
        read_picture(name, picture, size)


def _check(image: "Image.Image", what: str, size: tuple[int, int] | None) -> None:
    if image.format != "PNG":
        raise InvalidInputError(
            f"{what} is a {image.format}, which is decoded differently by different programs; save it as PNG, and name"
            " that"
        )
    if image.has_transparency_data:
        raise InvalidInputError(f'{what} has alpha; put it on a background and save it as PNG without: convert("RGB")')
    if image.mode not in _MODES:
        raise InvalidInputError(
            f"{what} has mode {image.mode}; expected one of {', '.join(_MODES)}: 8 bits or fewer for a sample"
        )
    if size is not None and image.size != size:
        found, wanted = ("x".join(map(str, each)) for each in (image.size, size))
        raise InvalidInputError(f"{what} is {found}; expected {wanted}, as the task's images: resize the picture")


_MODES: Final = ("1", "L", "P", "RGB")
