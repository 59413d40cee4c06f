"""The picture with which an image begins instead of noise alone (protocol T1)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from crynux_validate.encoding import check_integer
from crynux_validate.errors import InvalidTaskError
from crynux_validate.tasks.pictures import PictureRef
from crynux_validate.tasks.records import Record, check_number, check_picture, or_null, record_schema


@dataclass(frozen=True)
class StartPicture(Record):
    """A picture with which images begin: image to image (arXiv 2108.01073), or inpainting with a mask.

    Parameters
    ----------
    image
        The picture, with the width and height of the task.
    strength
        The part of the schedule that is computed, above 0 and at most 1. With 0.5: half of the steps, from half of the
        noise.
    mask
        A picture of the same size, white (128 or more) where the image is drawn anew, black where it is kept. None to
        draw all of it anew.

    Raises
    ------
    InvalidTaskError
        For an invalid field, which the message names.
    """

    schema: ClassVar = record_schema(
        "StartPicture",
        "A picture that the drawing begins with.",
        image=dict(PictureRef.schema),
        strength={"type": "number", "default": 0.8, "exclusiveMinimum": 0.0, "maximum": 1.0},
        mask=or_null(PictureRef.schema),
    )
    reads: ClassVar[Mapping[str, Any]] = {"image": PictureRef.from_dict, "mask": PictureRef.from_dict}

    image: PictureRef
    strength: float = 0.8
    mask: PictureRef | None = None

    def __post_init__(self) -> None:
        check_picture("image", self.image)
        if self.mask is not None:
            check_picture("mask", self.mask)
        object.__setattr__(self, "strength", check_number("strength", self.strength, 0, 1))
        if self.strength == 0:
            raise InvalidTaskError("strength", "is 0; expected more than 0 and at most 1", "limits")

    def steps(self, whole: int, *, flow: bool = False) -> int:
        """Return the number of steps that are computed, which are the last ones of the schedule.

        Parameters
        ----------
        whole
            The number of steps of the schedule.
        flow
            Whether the scheduler is one of flows: a part of a step counts as a step then, and is left out otherwise.
        """
        check_integer(whole, "the steps of the schedule")
        part = min(whole * self.strength, whole)
        return whole - int(whole - part) if flow else int(part)

    def located(self, paths: Mapping[str, Any]) -> "StartPicture":
        """Return it with the files of its pictures that `paths` has."""
        mask = None if self.mask is None else self.mask.located(paths)
        return StartPicture(self.image.located(paths), self.strength, mask)
