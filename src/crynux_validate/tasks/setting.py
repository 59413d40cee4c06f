"""Settings: what image tasks have in common, whatever their prompts. A calibration records its setting."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from crynux_validate.encoding import check_type, shorten
from crynux_validate.errors import InvalidInputError
from crynux_validate.tasks.image import ImageTask
from crynux_validate.tasks.pictures import without_pictures

ASKED: Final[Mapping[str, Any]] = {
    "prompt": "", "negative_prompt": "", "seed": 0, "images": 1, "algorithm": "phash/1", "binding": "pixels",
}  # fmt: skip
"""Fields that can differ within a setting, besides pictures. All other fields, also new ones, must be equal."""

RANGES: Final = ("steps", "width", "height", "guidance_scale")
"""Fields that have a range in a setting."""


@dataclass(frozen=True)
class ImageSetting:
    """How images are drawn: model and parts, dtype, scheduler, and ranges of steps, sizes and guidance.

    `of` makes a setting from tasks. Measurements with these tasks apply to the tasks that the setting `covers`, and to
    no others.

    Parameters
    ----------
    least, most
        Two tasks without prompts that differ only in steps, width, height and guidance scale.
    """

    least: ImageTask
    most: ImageTask

    def __post_init__(self) -> None:
        for name in ("least", "most"):
            task = getattr(self, name)
            check_type(task, ImageTask, f"the {name} of a setting", "an ImageTask")
            object.__setattr__(self, name, _asking_nothing(task))
        for name in _unlike(self.least, self.most):
            raise InvalidInputError(f"the least and the most task of a setting differ in {name}; use ImageSetting.of")
        for name in RANGES:
            if getattr(self.least, name) > getattr(self.most, name):
                raise InvalidInputError(
                    f"the range of {name} ends at {getattr(self.most, name)}, below its start; use ImageSetting.of"
                )

    @classmethod
    def of(cls, *tasks: ImageTask) -> "ImageSetting":
        """Return the setting that covers these tasks, at least one.

        Raises
        ------
        InvalidInputError
            For tasks with different models, parts, dtypes or schedulers, and values that are not image tasks.
        """
        if not tasks:
            raise InvalidInputError("tasks is empty; expected the tasks that were measured")
        for at, task in enumerate(tasks):
            check_type(task, ImageTask, f"tasks[{at}]", "an ImageTask")
            for name in _unlike(tasks[0], task):
                ours, theirs = (_told(one, name) for one in (task, tasks[0]))
                raise InvalidInputError(
                    f"tasks[{at}] has another {name} than tasks[0]: {ours} and {theirs}; calibrate them separately"
                )
        ends = ({name: end(getattr(task, name) for task in tasks) for name in RANGES} for end in (min, max))
        return cls(*(tasks[0].replace(**end) for end in ends))

    def covers(self, task: ImageTask) -> bool:
        """Whether the setting includes a task."""
        return not self.lacks(task)

    def lacks(self, task: ImageTask) -> str:
        """Return text that names the fields of a task outside this setting; empty if the setting covers the task."""
        check_type(task, ImageTask, "the task", "an ImageTask")
        found = [f"{name} {_told(self.least, name)}" for name in _unlike(self.least, task)]
        for name in RANGES:
            low, high = getattr(self.least, name), getattr(self.most, name)
            if not low <= getattr(task, name) <= high:
                found.append(f"{name} {_span(low, high)}")
        return ", ".join(found)

    def overlaps(self, other: "ImageSetting") -> bool:
        """Whether a task can be in both settings."""
        check_type(other, ImageSetting, "other", "an ImageSetting")
        meet = (
            getattr(self.least, name) <= getattr(other.most, name)
            and getattr(other.least, name) <= getattr(self.most, name)
            for name in RANGES
        )
        return not _unlike(self.least, other.least) and all(meet)

    def to_dict(self) -> dict[str, Any]:
        """Return the setting for JSON: the common fields of its tasks, and ranges as [least, most]."""
        fields = {name: value for name, value in self.least.to_dict().items() if name not in ASKED}
        return fields | {name: [getattr(self.least, name), getattr(self.most, name)] for name in RANGES}

    @classmethod
    def from_dict(cls, value: object) -> "ImageSetting":
        """Read what `to_dict` writes; a field that is missing or unknown is refused."""
        if not isinstance(value, Mapping):
            raise InvalidInputError(f"the setting is {shorten(value)}; expected the fields of ImageSetting.to_dict")
        for name in RANGES:
            if not isinstance(value.get(name), list | tuple) or len(value[name]) != 2:
                raise InvalidInputError(f"{name} of a setting is {shorten(value.get(name))}; expected [least, most]")
        ends = [{**ASKED, **value, **{name: value[name][at] for name in RANGES}} for at in (0, 1)]
        found = cls(*(ImageTask.from_fields(end) for end in ends))
        missing = sorted({*found.to_dict()} - {*value})
        if missing or {*ASKED} & {*value}:
            wrong = ", ".join(missing or sorted({*ASKED} & {*value}))
            raise InvalidInputError(f"a setting {'lacks' if missing else 'has'} {wrong}; see ImageSetting.to_dict")
        return found

    def __str__(self) -> str:
        steps, width, height, guidance = (_span(getattr(self.least, name), getattr(self.most, name)) for name in RANGES)
        return (
            f"{self.least.loads} in {self.least.dtype}, {steps} steps of {self.least.scheduler}, {width}x{height}, "
            f"guidance {guidance}"
        )


def _asking_nothing(task: ImageTask) -> ImageTask:
    pictures = {name: without_pictures(getattr(task, name)) for name in type(task).model_fields}
    return task.replace(**{**pictures, **ASKED})


def _unlike(one: ImageTask, other: ImageTask) -> list[str]:
    """The fields that tasks of one setting have in common, and these do not."""
    ours, theirs = _asking_nothing(one).to_dict(), _asking_nothing(other).to_dict()
    return [name for name in ours if name not in ASKED and name not in RANGES and ours[name] != theirs.get(name)]


def _told(task: ImageTask, name: str) -> str:
    return str(task.model) if name == "model" else shorten(task.to_dict()[name])


def _span(low: float, high: float) -> str:
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"
