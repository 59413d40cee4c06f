"""What an image begins with in place of noise alone: a picture, whole or in part (protocol T1)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from crynux_validate.encoding import check_integer
from crynux_validate.errors import InvalidTaskError
from crynux_validate.tasks.pictures import PictureRef
from crynux_validate.tasks.records import Record, check_number, check_picture, or_null, record_schema


@dataclass(frozen=True)
class StartPicture(Record):
    """A picture that the drawing begins with: image to image (arXiv 2108.01073), and inpainting with a mask.

    Parameters
    ----------
    image
        The picture, as wide and high as the task's.
    strength
        How much of the schedule is gone through, over 0 to 1: with 0.5 half of the steps, from half of the noise.
    mask
        White (128 and more) where the picture is drawn anew, black where it is kept; as large. None: all of it.

    Raises
    ------
    InvalidTaskError
        Names the field, the value and what was expected.
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
            raise InvalidTaskError(
                "strength", "is 0, which draws nothing; expected more than 0, and at most 1", "limits"
            )

    def steps(self, whole: int, *, flow: bool = False) -> int:
        """Return how many of the schedule's steps are taken: the last ones.

        Parameters
        ----------
        whole
            How many the schedule has.
        flow
            Whether the scheduler is one along a flow: then a part of a step is a whole one, and none otherwise.
        """
        check_integer(whole, "the steps of the schedule")
        part = min(whole * self.strength, whole)
        return whole - int(whole - part) if flow else int(part)

    def located(self, paths: Mapping[str, Any]) -> "StartPicture":
        """Return it with the files of its pictures, where these are among `paths`."""
        mask = None if self.mask is None else self.mask.located(paths)
        return StartPicture(self.image.located(paths), self.strength, mask)
