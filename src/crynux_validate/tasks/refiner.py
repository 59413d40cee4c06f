"""A second model that draws the last steps of an image (protocol T11)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from crynux_validate.encoding import shorten
from crynux_validate.errors import InvalidTaskError
from crynux_validate.schedulers import MAX_STEPS
from crynux_validate.tasks.model import ModelRef
from crynux_validate.tasks.records import Record, check_model, check_number, or_null, record_schema
from crynux_validate.tasks.wire import MODEL_SCHEMA

MAX_GUIDANCE: Final = 50.0
MAX_AESTHETIC: Final = 10.0

_COUNT: Final[Mapping[str, Any]] = {"type": "integer", "minimum": 1, "maximum": MAX_STEPS}


@dataclass(frozen=True)
class Refiner(Record):
    """A model for the last steps of Stable Diffusion XL (arXiv 2307.01952): it takes over where the noise is low.

    The task's model takes those steps of its schedule whose time is at or above ``1000 - 1000 * cutoff``, and the
    refiner those of its own schedule, of `steps`, whose time is below. Both have the task's scheduler.

    Parameters
    ----------
    model
        The repository at a commit, or the local folder by its digest: a whole refiner, as diffusers saves it.
    cutoff
        The part of the schedule that the task's model goes through, between 0 and 1.
    steps
        Steps of the refiner's whole schedule, 1 to 500; it takes the last ones.
    guidance_scale
        Classifier-free guidance of the refiner, 0 to 50; at 1 or below there is none.
    aesthetic_score, negative_aesthetic_score
        What the refiner is told about the picture with the prompt, and with the negative prompt, 0 to 10.
    taken
        How many steps the task's model takes, and how many the refiner. A task with ``binding="trace"`` has to say so;
        others may, and a recipe has it. A node refuses a task that says others than there are.

    Raises
    ------
    InvalidTaskError
        Names the field, the value and what was expected.
    """

    schema: ClassVar = record_schema(
        "Refiner",
        "A second model that draws the last steps of an image.",
        model=dict(MODEL_SCHEMA),
        cutoff={"type": "number", "default": 0.8, "exclusiveMinimum": 0.0, "exclusiveMaximum": 1.0},
        steps={**_COUNT, "default": 20},
        guidance_scale={"type": "number", "default": 5.0, "minimum": 0.0, "maximum": MAX_GUIDANCE},
        aesthetic_score={"type": "number", "default": 6.0, "minimum": 0.0, "maximum": MAX_AESTHETIC},
        negative_aesthetic_score={"type": "number", "default": 2.5, "minimum": 0.0, "maximum": MAX_AESTHETIC},
        taken=or_null({"type": "array", "items": dict(_COUNT), "minItems": 2, "maxItems": 2}),
    )

    model: ModelRef
    cutoff: float = 0.8
    steps: int = 20
    guidance_scale: float = 5.0
    aesthetic_score: float = 6.0
    negative_aesthetic_score: float = 2.5
    taken: Sequence[int] | None = None

    def __post_init__(self) -> None:
        check_model(self.model)
        found = {"cutoff": 1.0, "guidance_scale": MAX_GUIDANCE}
        found |= dict.fromkeys(("aesthetic_score", "negative_aesthetic_score"), MAX_AESTHETIC)
        for name, most in found.items():
            object.__setattr__(self, name, check_number(name, getattr(self, name), 0, most))
        if self.cutoff in (0, 1):
            raise InvalidTaskError(
                "cutoff", f"is {self.cutoff:g}, which leaves one model no step; expected between 0 and 1", "limits"
            )
        _check_count("steps", self.steps)
        if self.taken is None:
            return
        if not isinstance(self.taken, list | tuple) or len(self.taken) != 2:
            raise InvalidTaskError(
                "taken", f"is {shorten(self.taken)}; expected the steps of the model and the refiner"
            )
        for at, count in enumerate(self.taken):
            _check_count(f"taken.{at}", count)
        if self.taken[1] > self.steps:
            raise InvalidTaskError("taken.1", f"is {self.taken[1]}; expected at most steps, {self.steps}", "limits")
        object.__setattr__(self, "taken", tuple(self.taken))

    def to_dict(self) -> dict[str, Any]:
        """Return what is canonical of it."""
        return super().to_dict() | {"taken": None if self.taken is None else list(self.taken)}

    def __str__(self) -> str:
        return f"{self.model} from {self.cutoff:g} on"


def _check_count(name: str, value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        raise InvalidTaskError(name, f"is {shorten(value)}; expected an integer")
    check_number(name, value, 1, MAX_STEPS)
