"""Tasks: complete, canonical, and strict with strangers (protocol T1-T3)."""

import copy
import json
import math
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crynux_validate import ErrorReport, ImageTask, Lora, ModelRef, task_from_json
from crynux_validate.errors import InvalidInputError, InvalidTaskError, ModelError
from crynux_validate.schedulers import SCHEDULERS
from crynux_validate.tasks import ControlNet, PictureRef, Refiner, StartPicture, TextualInversion, folder_digest

MODEL = ModelRef("owner/name", revision="0" * 40)
TASK = ImageTask(model=MODEL, prompt="a red cat")


@st.composite
def tasks(draw: st.DrawFn) -> ImageTask:
    scheduler = draw(st.sampled_from(sorted(SCHEDULERS)))
    choices = SCHEDULERS[scheduler].arguments
    keys = draw(st.sets(st.sampled_from(sorted(choices)))) - {"use_exponential_sigmas"}
    return ImageTask(
        model=MODEL,
        prompt=draw(st.text(max_size=200)),
        negative_prompt=draw(st.text(max_size=20)),
        seed=draw(st.integers(0, 2**53 - 1)),
        steps=4,
        width=8 * draw(st.integers(8, 512)),
        height=8 * draw(st.integers(8, 512)),
        guidance_scale=draw(st.floats(0, 50)),
        images=draw(st.integers(1, 16)),
        scheduler=scheduler,
        scheduler_args={
            key: draw(st.sampled_from(list(choices[key]))) for key in keys if key != "original_inference_steps"
        },
        dtype=draw(st.sampled_from(["float32", "float16", "bfloat16"])),
        safety_checker=draw(st.booleans()),
    )


@given(tasks())
def test_json_and_back(task: ImageTask) -> None:
    again = task_from_json(task.to_json())
    assert again == task
    assert again.digest == task.digest
    assert hash(again) == hash(task)
    assert json.loads(task.to_json())["schema"] == "crynux-validate/image-task/1"


@given(tasks(), tasks())
def test_digests_are_equal_where_tasks_are(a: ImageTask, b: ImageTask) -> None:
    assert (a == b) == (a.digest == b.digest)


def test_every_field_counts() -> None:
    changes: dict[str, Any] = {
        "model": ModelRef("owner/name", revision="1" * 40),
        "prompt": "a blue cat",
        "negative_prompt": "dog",
        "seed": 1,
        "steps": 24,
        "width": 520,
        "height": 520,
        "guidance_scale": 7.0,
        "images": 2,
        "scheduler": "EulerDiscreteScheduler",
        "scheduler_args": {"steps_offset": 1},
        "dtype": "float16",
        "safety_checker": True,
        "vae": ModelRef("owner/name", revision="1" * 40),
        "unet": ModelRef("owner/name", revision="1" * 40),
        "transformer": ModelRef("owner/name", revision="1" * 40),
        "loras": [Lora(ModelRef("owner/name", revision="1" * 40))],
        "textual_inversions": [TextualInversion(ModelRef("owner/name", revision="1" * 40), token="<a>")],
        "controlnet": ControlNet(ModelRef("owner/name", revision="1" * 40), PictureRef("2" * 64)),
        "start": StartPicture(PictureRef("3" * 64)),
        "refiner": Refiner(ModelRef("owner/name", revision="1" * 40)),
        "prompt_syntax": "compel",
        "max_sequence_length": 256,
        "true_cfg_scale": 2.0,
        "binding": "trace",
    }
    assert set(changes) == set(ImageTask.model_fields) - {"algorithm"}, "there is one algorithm yet"
    digests = {TASK.replace(**{name: value}).digest for name, value in changes.items()}
    assert len(digests | {TASK.digest}) == len(changes) + 1


@pytest.mark.parametrize(
    ("change", "field", "code"),
    [
        ({"steps": -1}, "steps", "limits"),
        ({"steps": 0}, "steps", "limits"),
        ({"steps": 501}, "steps", "limits"),
        ({"steps": True}, "steps", "schema"),
        ({"steps": 20.0}, "steps", "schema"),
        ({"steps": "20"}, "steps", "schema"),
        ({"seed": -1}, "seed", "limits"),
        ({"seed": 2**53}, "seed", "limits"),
        ({"guidance_scale": math.nan}, "guidance_scale", "schema"),
        ({"guidance_scale": math.inf}, "guidance_scale", "schema"),
        ({"guidance_scale": -0.5}, "guidance_scale", "limits"),
        ({"width": 65}, "width", "limits"),
        ({"height": 8192}, "height", "limits"),
        ({"images": 17}, "images", "limits"),
        ({"prompt": "a" * 8193}, "prompt", "limits"),
        ({"prompt": "\ud800"}, "prompt", "schema"),
        ({"prompt": None}, "prompt", "schema"),
        ({"scheduler": "HeunDiscreteScheduler"}, "scheduler", "unsupported"),
        ({"scheduler": "LCMScheduler", "steps": 51}, "steps", "limits"),
        ({"scheduler": "PNDMScheduler", "scheduler_args": {"skip_prk_steps": False}, "steps": 3}, "steps", "limits"),
        ({"scheduler_args": {"trained_betas": 1}}, "scheduler_args.trained_betas", "unsupported"),
        ({"scheduler_args": {"steps_offset": True}}, "scheduler_args.steps_offset", "limits"),
        ({"scheduler_args": {"timestep_spacing": "x"}}, "scheduler_args.timestep_spacing", "limits"),
        ({"scheduler_args": [1]}, "scheduler_args", "schema"),
        ({"dtype": "int8"}, "dtype", "unsupported"),
        ({"algorithm": "dhash/1"}, "algorithm", "unsupported"),
        ({"lora": "x"}, "lora", "unsupported"),
        ({"model": "owner/name"}, "model", "schema"),
        ({"width": 65, "scheduler": "Nope"}, "scheduler", "unsupported"),
        ({"width": 65, "steps": "1"}, "steps", "schema"),
    ],
)
def test_bad_fields(change: dict[str, Any], field: str, code: str) -> None:
    with pytest.raises(InvalidTaskError) as caught:
        TASK.replace(**change)
    assert (caught.value.field, caught.value.code) == (field, code)
    assert field in str(caught.value)


def changed(**changes: Any) -> str:
    return json.dumps(json.loads(TASK.to_json()) | changes)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "not JSON"),
        ("[]", "JSON object"),
        ("{}", "schema"),
        ("{" * 60_000, "nested"),
        (changed(unknown=json.loads("[" * 40 + "]" * 40)), "more than 32 levels"),
        ("[" * 60_000, "nested"),
        (b"\xff", "UTF-8"),
        (" " * 1_050_000, "1048576"),
        (TASK.to_json().replace('"seed":0', '"seed":NaN'), "NaN"),
        (TASK.to_json().replace('"seed":0', '"seed":Infinity'), "Infinity"),
        (TASK.to_json().replace('"seed":0', '"seed":1e999'), "too large"),
        (TASK.to_json().replace('"seed":0', f'"seed":{"9" * 5000}'), "5000 digits"),
        (TASK.to_json().replace('"seed":0', '"seed":0,"seed":0'), "twice"),
        (TASK.to_json().replace("a red cat", "\\ud800"), "surrogate"),
        (changed(schema="crynux-validate/image-task/2"), "expected 'crynux-validate/image-task/1'"),
        (changed(model=None), "model"),
        (changed(model={"digest": "ab" * 32, "path": "/etc"}), "model.path"),
        (changed(model={"repository": "a/b", "revision": "0" * 40, "allow_unpinned": True}), "allow_unpinned"),
        (changed(model={"repository": "a/b", "revision": "main"}), "can change"),
        (changed(model={"repository": "../../etc", "revision": "0" * 40}), "model.repository"),
        (changed(model={"repository": "a/b", "digest": "ab" * 32}), "model"),
        (changed(model={"digest": "AB" * 32}), "model.digest"),
        (changed(model={"digest": "ab" * 32, "variant": "../x"}), "model.variant"),
        (changed(unknown=1), "unknown"),
        (changed(schema="crynux-validate/image-task-unpinned/1"), "can change"),
    ],
)
def test_strangers_json(text: str | bytes, word: str) -> None:
    with pytest.raises(InvalidTaskError) as caught:
        task_from_json(text)
    assert word in str(caught.value)


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)
    )
)
def test_any_json_is_a_task_or_an_error(value: Any) -> None:
    for text in (json.dumps(value), changed(prompt=value), changed(scheduler_args=value), changed(model=value)):
        try:
            task_from_json(text)
        except InvalidTaskError:
            continue


def test_an_unpinned_model_runs_only_where_it_is_allowed() -> None:
    with pytest.raises(InvalidTaskError, match="allow_unpinned=True"):
        ModelRef("owner/name", revision="main")
    unpinned = TASK.replace(model=ModelRef("owner/name", revision="main", allow_unpinned=True))
    assert unpinned.schema_id == "crynux-validate/image-task-unpinned/1"
    with pytest.raises(InvalidTaskError, match="can change"):
        task_from_json(unpinned.to_json())
    assert task_from_json(unpinned.to_json(), allow_unpinned=True) == unpinned
    pinned = TASK.to_json().replace("image-task/1", "image-task-unpinned/1")
    with pytest.raises(InvalidTaskError, match="all revisions are commits"):
        task_from_json(pinned, allow_unpinned=True)


def test_every_task_can_be_read_back() -> None:
    longest = TASK.replace(prompt="\x01" * 8192)
    assert task_from_json(longest.to_json()) == longest
    with pytest.raises(InvalidTaskError, match="canonical bytes") as caught:
        longest.replace(negative_prompt="\x01" * 8192)
    assert caught.value.code == "limits"


def test_huge_numbers_have_an_error_that_can_be_read() -> None:
    with pytest.raises(InvalidTaskError, match="an integer of 16610 bits"):
        TASK.replace(seed=10**5000)


def test_pydantics_copy_validates() -> None:
    assert TASK.digest
    assert TASK.model_copy(update={"seed": 3}) == TASK.replace(seed=3)
    with pytest.raises(InvalidTaskError):
        TASK.model_copy(update={"steps": -5})


def test_replace_validates_and_starts_another_scheduler_afresh() -> None:
    task = TASK.replace(scheduler="LCMScheduler", steps=4)
    assert task.scheduler_args == {"original_inference_steps": 50}
    assert task.replace(scheduler="DDIMScheduler").scheduler_args == {}
    assert task.replace(seed=3).scheduler_args == {"original_inference_steps": 50}


def test_tasks_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        TASK.steps = 3  # type: ignore[misc]
    with pytest.raises(TypeError):
        TASK.scheduler_args["steps_offset"] = 1  # type: ignore[index]


def test_tasks_and_groups_can_be_given_to_other_processes() -> None:
    task = TASK.replace(scheduler="LCMScheduler", steps=4)
    assert pickle.loads(pickle.dumps(task)) == task
    assert copy.deepcopy(task) == task
    error = InvalidTaskError("steps", "is -1", "limits")
    again = pickle.loads(pickle.dumps(error))
    assert (again.field, again.code, str(again)) == ("steps", "limits", str(error))


def test_folder_digest(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    (folder / "unet").mkdir(parents=True)
    (folder / "unet" / "weights").write_bytes(b"abc")
    (folder / "model_index.json").write_text("{}")
    before = folder_digest(folder)
    (folder / ".cache").mkdir()
    (folder / ".cache" / "x").write_text("ignored")
    (folder / "unet" / ".hidden").write_text("ignored")
    assert folder_digest(folder) == before
    model = ModelRef.local(folder)
    assert model == ModelRef(digest=before)
    assert model.pinned
    assert ModelRef(digest=before).at(folder).path == folder
    (folder / "unet" / "weights").write_bytes(b"abd")
    assert folder_digest(folder) != before
    (tmp_path / "empty").mkdir()
    wrong: list[tuple[Callable[[], ModelRef], str]] = [
        (lambda: ModelRef(digest=before).at(folder), "but the folder"),
        (lambda: ModelRef.local(tmp_path / "nothing"), "not a folder"),
        (lambda: ModelRef.local(tmp_path / "empty"), "no files"),
    ]
    for make, word in wrong:
        with pytest.raises(ModelError, match=word) as caught:
            make()
        assert ErrorReport.of(caught.value).code == "failed", "this machine's fault is no fault of the task (A1)"
    with pytest.raises(InvalidInputError, match="not a local folder"):
        MODEL.at(folder)


def test_no_negative_prompt_is_not_an_empty_one() -> None:
    none = TASK.replace(negative_prompt=None)
    assert none.digest != TASK.digest
    assert json.loads(none.to_json())["negative_prompt"] is None
    assert task_from_json(none.to_json()) == none


COMMIT = "1" * 40
PART = {"model": {"repository": "owner/part", "revision": COMMIT, "variant": None}, "file": "a.safetensors"}
INVERSION = {**PART, "token": "<a>"}


@pytest.mark.parametrize(
    ("changes", "field", "code"),
    [
        ({"loras": None}, "loras", "schema"),
        ({"loras": {}}, "loras", "schema"),
        ({"loras": [1]}, "loras.0", "schema"),
        ({"loras": [{}]}, "loras.0.model", "schema"),
        ({"loras": [PART, {**PART, "scale": 1}]}, "loras.1.scale", "unsupported"),
        ({"loras": [{**PART, "weight": "1"}]}, "loras.0.weight", "schema"),
        ({"loras": [{**PART, "weight": True}]}, "loras.0.weight", "schema"),
        ({"loras": [{**PART, "weight": 10.5}]}, "loras.0.weight", "limits"),
        ({"loras": [{**PART, "file": "a.bin"}]}, "loras.0.file", "unsupported"),
        ({"loras": [{**PART, "file": "../a.safetensors"}]}, "loras.0.file", "schema"),
        ({"loras": [{**PART, "file": "/a.safetensors"}]}, "loras.0.file", "schema"),
        ({"loras": [{**PART, "file": "a\\\\b.safetensors"}]}, "loras.0.file", "schema"),
        ({"loras": [{**PART, "file": ".a.safetensors"}]}, "loras.0.file", "schema"),
        ({"loras": [{**PART, "file": "a\n.safetensors"}]}, "loras.0.file", "schema"),
        ({"loras": [{**PART, "file": 1}]}, "loras.0.file", "schema"),
        ({"loras": [{**PART, "model": {"repository": "a", "revision": "main"}}]}, "loras.0.model.revision", "schema"),
        ({"loras": [{**PART, "model": {"digest": "1" * 64, "variant": "fp16"}}]}, "loras.0.model.variant", "schema"),
        ({"loras": [PART] * 17}, "loras", "limits"),
        ({"textual_inversions": [PART]}, "textual_inversions.0.token", "limits"),
        ({"textual_inversions": [{**INVERSION, "token": "a b"}]}, "textual_inversions.0.token", "limits"),
        ({"textual_inversions": [{**INVERSION, "token": 1}]}, "textual_inversions.0.token", "schema"),
        ({"textual_inversions": [INVERSION, INVERSION]}, "textual_inversions.1.token", "limits"),
        ({"vae": "owner/vae"}, "vae", "schema"),
        ({"vae": {"repository": "a", "revision": "main"}}, "vae.revision", "schema"),
        ({"unet": {"digest": "x"}}, "unet.digest", "schema"),
        ({"unet": {"digest": "1" * 64, "file": "a"}}, "unet.file", "unsupported"),
        ({"negative_prompt": 1}, "negative_prompt", "schema"),
    ],
)
def test_parts_of_a_stranger_are_checked(changes: dict[str, Any], field: str, code: str) -> None:
    with pytest.raises(InvalidTaskError) as caught:
        task_from_json(TASK.to_dict() | changes)
    assert (caught.value.field, caught.value.code) == (field, code)
    assert ErrorReport.of(caught.value).invalid_task


def test_every_part_must_be_pinned() -> None:
    moving = ModelRef("owner/part", revision="main", allow_unpinned=True)
    for changes in ({"loras": [Lora(moving)]}, {"vae": moving}, {"unet": moving}, {"transformer": moving}):
        task = TASK.replace(**changes)
        assert not task.pinned
        assert task.schema_id == ImageTask.schemas[1]
        with pytest.raises(InvalidTaskError, match="can change"):
            task_from_json(task.to_json())
        assert task_from_json(task.to_json(), allow_unpinned=True) == task


def test_folders_are_found_by_what_they_hold(tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    a, b, c = (ModelRef.local(tmp_path / name) for name in "abc")
    task = TASK.replace(model=a, vae=b, loras=[Lora(b)])
    stranger = task_from_json(task.to_json())
    assert isinstance(stranger, ImageTask)
    assert all(model.path is None for model in stranger.references().values())
    here = stranger.at(tmp_path / "b", tmp_path / "a")
    assert here == task
    assert {name: model.path for name, model in here.references().items()} == {
        "model": tmp_path / "a", "vae": tmp_path / "b", "loras.0": tmp_path / "b",
    }  # fmt: skip
    with pytest.raises(ModelError, match=f"holds {c.digest}; the task asks for model sha256:{a.digest}, vae"):
        stranger.at(tmp_path / "c")
