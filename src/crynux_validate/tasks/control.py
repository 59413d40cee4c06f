"""ControlNets: the network, its picture, and the preparation of the picture (protocol T1)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Literal, Self

from crynux_validate.encoding import shorten
from crynux_validate.errors import InvalidTaskError
from crynux_validate.tasks.model import ModelRef
from crynux_validate.tasks.pictures import PictureRef
from crynux_validate.tasks.records import Record, check_model, check_number, check_picture, or_null, record_schema
from crynux_validate.tasks.wire import MODEL_SCHEMA

MAX_SCALE: Final = 10.0
MAX_THRESHOLD: Final = 2040
"""The largest gradient of 8-bit samples: 1,020 in each direction."""

CannyMethod = Literal["canny/1"]
CANNY: Final[CannyMethod] = "canny/1"

_OTHERS: Final = "make the picture yourself, and name the result as the image, without preprocess"


@dataclass(frozen=True)
class Canny(Record):
    """The edges of the picture, white on black (Canny, IEEE PAMI 8(6), 1986), computed in integers.

    Parameters
    ----------
    low, high
        The thresholds of the gradient, the sum of its two parts: 0 to 2,040, low at most high.
    method
        ``canny/1``: the bits of OpenCV's ``Canny(picture, low, high)``, the same on every machine.

    Raises
    ------
    InvalidTaskError
        For an invalid field, which the message names.
    """

    schema: ClassVar = record_schema(
        "Canny",
        "Edges instead of the picture.",
        low={"type": "integer", "default": 100, "minimum": 0, "maximum": MAX_THRESHOLD},
        high={"type": "integer", "default": 200, "minimum": 0, "maximum": MAX_THRESHOLD},
        method={"const": CANNY, "default": CANNY, "type": "string"},
    )

    low: int = 100
    high: int = 200
    method: CannyMethod = CANNY

    def __post_init__(self) -> None:
        check_method("method", self.method, CANNY)
        for name in ("low", "high"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool):
                raise InvalidTaskError(name, f"is {shorten(value)}; expected an integer")
            check_number(name, value, 0, MAX_THRESHOLD)
        if self.low > self.high:
            raise InvalidTaskError("low", f"is {self.low}, above high, {self.high}; expected at most high", "limits")

    @classmethod
    def from_dict(cls, value: object, *, allow_unpinned: bool = False) -> Self:
        """Read what `to_dict` writes; the value may come from anybody."""
        if isinstance(value, Mapping) and "method" in value:
            check_method("method", value["method"], CANNY)
        return super().from_dict(value, allow_unpinned=allow_unpinned)


@dataclass(frozen=True)
class ControlNet(Record):
    """A ControlNet (arXiv 2302.05543): a second network that makes images follow a picture.

    Parameters
    ----------
    model
        The repository at a commit, or the local folder with its digest, with configuration and safetensors weights.
    image
        The picture, with the width and height of the task.
    scale
        The factor of the network's output, 0 to 10.
    preprocess
        The preparation of the picture; None for the picture itself.

    Raises
    ------
    InvalidTaskError
        For an invalid field, which the message names.
    """

    schema: ClassVar = record_schema(
        "ControlNet",
        "A second network that makes a picture follow another one.",
        model=dict(MODEL_SCHEMA),
        image=dict(PictureRef.schema),
        scale={"type": "number", "default": 1.0, "minimum": 0.0, "maximum": MAX_SCALE},
        preprocess=or_null(Canny.schema),
    )
    reads: ClassVar[Mapping[str, Any]] = {"image": PictureRef.from_dict, "preprocess": Canny.from_dict}

    model: ModelRef
    image: PictureRef
    scale: float = 1.0
    preprocess: Canny | None = None

    def __post_init__(self) -> None:
        check_model(self.model)
        check_picture("image", self.image)
        object.__setattr__(self, "scale", check_number("scale", self.scale, 0, MAX_SCALE))
        if self.preprocess is not None and not isinstance(self.preprocess, Canny):
            raise InvalidTaskError("preprocess", f"is {shorten(self.preprocess)}; expected a Canny, or None")

    def __str__(self) -> str:
        return f"{self.model} at {self.scale:g}"


def check_method(name: str, value: object, known: str) -> None:
    """Refuse another preparation of a picture: most are networks whose bits differ between machines."""
    if value != known:
        code: Any = "unsupported" if isinstance(value, str) else "schema"
        raise InvalidTaskError(name, f"is {shorten(value)}; expected {known}: {_OTHERS}", code)
