"""Settings: which tasks a calibration holds for."""

import json
from typing import Any

import pytest

from crynux_validate import ImageTask, Lora, ModelRef
from crynux_validate.errors import InvalidInputError
from crynux_validate.tasks import ControlNet, ImageSetting, PictureRef, Refiner, StartPicture, TextualInversion

MODEL = ModelRef("owner/name", "0" * 40)
TASK = ImageTask(model=MODEL, prompt="a cat", seed=7, steps=20, width=64, height=128, images=2, binding="trace")
PARTS: dict[str, Any] = {
    "controlnet": ControlNet(MODEL, PictureRef("ab" * 32)),
    "vae": MODEL,
    "unet": MODEL,
    "transformer": MODEL,
    "loras": [Lora(MODEL)],
    "textual_inversions": [TextualInversion(MODEL, token="<a>")],
    "refiner": Refiner(MODEL, taken=[16, 4]),
}


def test_a_setting_covers_what_lies_between_its_tasks() -> None:
    setting = ImageSetting.of(TASK, TASK.replace(steps=50, guidance_scale=3.5), TASK.replace(steps=30, width=256))
    inside = {"prompt": "a dog", "seed": 1, "negative_prompt": None, "images": 1, "algorithm": "phash-go/1"}
    assert setting.covers(TASK.replace(steps=41, guidance_scale=5, width=128, binding="pixels", **inside))
    for change, lacks in (
        ({"steps": 51}, "steps 20 to 50"),
        ({"steps": 19}, "steps 20 to 50"),
        ({"width": 264, "height": 64}, "width 64 to 256, height 128"),
        ({"guidance_scale": 7.6}, "guidance_scale 3.5 to 7.5"),
        ({"dtype": "bfloat16"}, "dtype 'float32'"),
        ({"scheduler": "EulerDiscreteScheduler"}, "scheduler 'DDIMScheduler'"),
        ({"safety_checker": True}, "safety_checker False"),
    ):
        assert lacks in setting.lacks(TASK.replace(**change)), change


@pytest.mark.parametrize("part", PARTS)
def test_parts_are_another_setting_and_another_name(part: str) -> None:
    """Also the same part in another way: a LoRA of another weight."""
    other = TASK.replace(**{part: PARTS[part]})
    assert not ImageSetting.of(TASK).covers(other)
    assert not ImageSetting.of(other).covers(TASK)
    assert part in ImageSetting.of(TASK).lacks(other)
    assert TASK.loads == str(MODEL)
    assert other.loads.startswith(f"{MODEL} with {part} ")
    assert len(other.loads) <= 200, "it is a name in calibrations"
    assert other.replace(seed=9, steps=17).loads == other.loads
    if part == "loras":
        weaker = TASK.replace(loras=[Lora(MODEL, weight=0.5)])
        assert weaker.loads != other.loads
        assert not ImageSetting.of(other).covers(weaker)
    if part == "controlnet":
        shown = TASK.replace(controlnet=ControlNet(MODEL, PictureRef("cd" * 32)))
        assert shown.loads == other.loads
        assert ImageSetting.of(other).covers(shown), "another picture is asked for, and nothing else"
        weaker = TASK.replace(controlnet=ControlNet(MODEL, PictureRef("ab" * 32), scale=0.5))
        assert weaker.loads != other.loads
        assert not ImageSetting.of(other).covers(weaker)


def test_pictures_that_a_drawing_begins_with_are_asked_for_and_how_much_is_drawn_is_not() -> None:
    begun = TASK.replace(start=StartPicture(PictureRef("ab" * 32), mask=PictureRef("ba" * 32)))
    setting = ImageSetting.of(begun)
    assert setting.covers(TASK.replace(start=StartPicture(PictureRef("cd" * 32), mask=PictureRef("dc" * 32))))
    for start in (
        None,
        StartPicture(PictureRef("ab" * 32)),
        StartPicture(PictureRef("ab" * 32), 0.5, PictureRef("ba" * 32)),
    ):
        assert "start" in setting.lacks(TASK.replace(start=start))


def test_every_field_of_a_task_is_asked_a_range_or_must_be_equal() -> None:
    """A field that is new belongs to the setting, unless somebody decides otherwise."""
    setting = ImageSetting.of(TASK).to_dict()
    asked = {"prompt", "negative_prompt", "seed", "images", "algorithm", "binding"}
    assert {*setting} == {*TASK.to_dict()} - asked
    ranges = {name for name, value in setting.items() if value == 2 * [TASK.to_dict()[name]]}
    assert ranges == {"steps", "width", "height", "guidance_scale"}


def test_settings_overlap_where_some_task_is_of_both() -> None:
    setting = ImageSetting.of(TASK, TASK.replace(steps=50))
    for low, high, meets in ((1, 19, False), (1, 20, True), (30, 40, True), (50, 60, True), (51, 60, False)):
        other = ImageSetting.of(TASK.replace(steps=low), TASK.replace(steps=high))
        assert setting.overlaps(other) is other.overlaps(setting) is meets
    assert not setting.overlaps(ImageSetting.of(TASK.replace(dtype="bfloat16")))
    assert not setting.overlaps(ImageSetting.of(TASK.replace(width=128)))


def test_json() -> None:
    parts = {name: part for name, part in PARTS.items() if name != "textual_inversions"}  # not with a refiner
    setting = ImageSetting.of(TASK.replace(**parts), TASK.replace(**parts, steps=50, guidance_scale=2.5))
    written = json.loads(json.dumps(setting.to_dict()))
    assert ImageSetting.from_dict(written) == setting
    assert str(setting).endswith("in float32, 20 to 50 steps of DDIMScheduler, 64x128, guidance 2.5 to 7.5")
    without = {name: value for name, value in written.items() if name != "safety_checker"}
    wrong: list[tuple[Any, str]] = [
        (None, "the setting is None"),
        ([], r"the setting is \[\]"),
        ({**written, "steps": 20}, r"steps of a setting is 20; expected \[least, most\]"),
        ({**written, "steps": [50, 20]}, "the range of steps ends at 20, below its start"),
        ({**written, "steps": [0, 20]}, "steps: is 0"),
        ({**written, "prompt": "x"}, "a setting has prompt"),
        ({**written, "more": 1}, "more"),
        ({**written, "model": "x"}, "model: is 'x'"),
        (without, "a setting lacks safety_checker"),
    ]
    for given, match in wrong:
        with pytest.raises(InvalidInputError, match=match):
            ImageSetting.from_dict(given)


def test_bad_input() -> None:
    other: list[tuple[Any, str]] = [
        ((), "tasks is empty"),
        (("x",), r"tasks\[0\] is 'x'; expected an ImageTask"),
        ((TASK, None), r"tasks\[1\] is None"),
        (
            (TASK, TASK.replace(dtype="float16")),
            r"tasks\[1\] has another dtype than tasks\[0\]: 'float16' and 'float32'",
        ),
    ]
    for given, match in other:
        with pytest.raises(InvalidInputError, match=match):
            ImageSetting.of(*given)
    with pytest.raises(InvalidInputError, match=r"differ in dtype; use ImageSetting\.of"):
        ImageSetting(TASK, TASK.replace(dtype="float16"))
    with pytest.raises(InvalidInputError, match="the task is None"):
        ImageSetting.of(TASK).covers(None)  # type: ignore[arg-type]
