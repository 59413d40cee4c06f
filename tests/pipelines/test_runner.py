"""The runner: what it loads, what it refuses, what it reports and saves."""

import gc
import importlib
import io
import json
import logging
import shutil
import warnings
import weakref
from contextlib import redirect_stderr, redirect_stdout
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from crynux_validate.answers import ErrorReport, answer_from_bytes
from crynux_validate.errors import InvalidInputError, ModelError, PipelineError, PromptTooLongError
from crynux_validate.machines.environment import Environment
from crynux_validate.pipelines.guard.determinism import numerics, switches
from crynux_validate.pipelines.guard.probe import default_device, find_device, local_environment
from crynux_validate.pipelines.images import decoding
from crynux_validate.pipelines.models import loading
from crynux_validate.pipelines.runner import Progress, Runner, run
from crynux_validate.tasks import ImageTask, ModelRef, task_from_json
from crynux_validate.testing import tiny_image_model


@pytest.fixture
def copied(model: Any, tmp_path: Path) -> Any:
    """A folder that a test may damage; call it to name what is in it now."""
    folder = tmp_path / "copy"
    shutil.copytree(model.path, folder)
    return folder


def load(folder: Path, **settings: Any) -> Any:
    return Runner(ModelRef.local(folder), device="cpu", **settings)


def test_one_call_loads_runs_and_frees(task: ImageTask) -> None:
    seen: list[Progress] = []
    result: Any = run(task.replace(images=2), "cpu", on_step=seen.append)
    assert seen == [Progress(image, 2, step, 3) for image in (0, 1) for step in (1, 2, 3)]
    assert [image.size for image in result.images] == [(64, 64)] * 2
    assert {image.mode for image in result.images} == {"RGB"}
    assert result.seconds > 0
    assert not result.score.degenerate
    shown = repr(result)
    assert shown.isprintable()
    assert len(shown) < 200
    assert "2 images" in shown
    assert result.score.hex in shown


LOGS_AND_BACKEND: tuple[str, ...] = (
    "diffusers.models.attention_dispatch",
    "diffusers.utils.logging",
    "transformers.utils.logging",
)


def test_nothing_is_written_and_every_setting_is_left_as_it_was(model: Any, task: ImageTask) -> None:
    # Untyped, and partly private.
    dispatch, diffusers_log, transformers_log = map(importlib.import_module, LOGS_AND_BACKEND)

    def settings() -> Any:
        logs = [(log.get_verbosity(), log.is_progress_bar_enabled()) for log in (diffusers_log, transformers_log)]
        backend = dispatch._AttentionBackendRegistry.get_active_backend()[0]
        return logs, backend, warnings.filters[:], {switch.name: switch.read() for switch in switches()}

    transformers_log.enable_progress_bar()
    diffusers_log.set_verbosity_info()
    before, said = settings(), io.StringIO()
    handler = logging.StreamHandler(said)
    logging.getLogger("diffusers").addHandler(handler)
    try:
        with redirect_stderr(said), redirect_stdout(said):
            run(task, device="cpu")
        assert said.getvalue() == ""
        assert settings() == before
    finally:
        logging.getLogger("diffusers").removeHandler(handler)
        diffusers_log.set_verbosity_warning()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dtype": "bfloat16"}, "asks for dtype bfloat16, but this runner has loaded float32"),
        ({"safety_checker": True}, "asks for safety_checker True"),
        ({"model": ModelRef(digest="0" * 64)}, "asks for model sha256:0000"),
    ],
)
def test_a_task_for_something_else_is_refused(runner: Any, task: ImageTask, changes: Any, message: Any) -> None:
    with pytest.raises(InvalidInputError, match=message):
        runner.run(task.replace(**changes))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "sound"}, "kind is 'sound'"),
        ({"kind": "text", "safety_checker": True}, "only image models"),
        ({"dtype": "int8"}, "dtype is 'int8'"),
        ({"device": "toaster"}, "'toaster' is no device"),
        ({"device": "meta"}, "'meta' is not supported"),
        ({"model": "tiny"}, "expected a ModelRef"),
    ],
)
def test_a_runner_says_what_it_cannot_be(model: Any, settings: Any, message: Any) -> None:
    with pytest.raises(InvalidInputError, match=message):
        Runner(**{"model": model, **settings})


def test_no_task(runner: Any) -> None:
    with pytest.raises(InvalidInputError, match="expected an ImageTask"):
        runner.run("a cat")
    with pytest.raises(InvalidInputError, match="expected an ImageTask"):
        Runner.for_task("a cat")  # type: ignore[arg-type]


def test_a_device_that_is_not_there() -> None:
    if default_device() != "cpu":
        pytest.skip("this machine has an accelerator")
    assert str(find_device()) == "cpu"
    for device in ("cuda", "mps"):
        with pytest.raises(PipelineError, match=f"the device {device} is not there"):
            find_device(device)


def test_a_closed_runner_says_so(model: Any, task: ImageTask) -> None:
    with Runner.for_task(task, "cpu") as closed:
        assert "loaded" in repr(closed)
    closed.close()
    assert "closed" in repr(closed)
    with pytest.raises(PipelineError, match="this runner is closed"):
        closed.run(task)


@pytest.mark.parametrize("holds_itself", [False, True])
def test_a_closed_runner_holds_nothing(task: ImageTask, holds_itself: bool) -> None:
    opened = Runner.for_task(task, "cpu")
    opened.run(task.replace(steps=1))
    unet = opened._loaded.pipeline.unet  # type: ignore[union-attr]
    if holds_itself:
        unet.__dict__["itself"] = unet
    held = [weakref.ref(unet), weakref.ref(next(unet.parameters()))]
    del unet
    gc.disable()
    try:
        opened.close()
        assert [each() for each in held] == [None, None]
    finally:
        gc.enable()


@pytest.mark.parametrize("field", ["prompt", "negative_prompt"])
def test_a_prompt_that_would_be_cut_off_is_refused(runner: Any, task: ImageTask, field: Any) -> None:
    tokenizer = runner._loaded.pipeline.tokenizer
    fits = " ".join("x" * 75)
    assert len(tokenizer(fits).input_ids) == 77
    runner.run(task.replace(**{field: fits, "steps": 1}))
    with pytest.raises(
        PromptTooLongError, match=f"{field}: has 76 tokens; the model's tokenizer takes at most 75"
    ) as caught:
        runner.run(task.replace(**{field: fits + " x"}))
    assert ErrorReport.of(caught.value).code == "failed", "the task's bytes alone do not show it (A1)"


class StopError(Exception):
    pass


def test_what_on_step_raises_reaches_the_caller_and_the_runner_works_on(runner: Any, task: ImageTask) -> None:
    before = runner.run(task)

    def stop(progress: Any) -> None:
        raise StopError(progress.step)

    with pytest.raises(StopError, match="1"):
        runner.run(task, on_step=stop)
    with pytest.raises(ValueError, match=r"^mine$"):
        runner.run(task, on_step=lambda _: (_ for _ in ()).throw(ValueError("mine")))
    assert runner.run(task).score == before.score


def test_a_failing_computation_is_a_pipeline_error(
    runner: Any, task: ImageTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(runner._loaded.pipeline.vae, "decode", fail)
    with pytest.raises(PipelineError, match="image 0 could not be drawn: RuntimeError: out of memory"):
        runner.run(task)


def test_pixels_that_are_no_numbers_are_an_error(runner: Any, task: ImageTask, monkeypatch: pytest.MonkeyPatch) -> None:
    decode = runner._loaded.pipeline.vae.decode

    def overflow(*args: Any, **kwargs: Any) -> Any:
        (decoded,) = decode(*args, **kwargs)
        decoded[0, 0, 3, 5] = float("nan")
        return (decoded,)

    monkeypatch.setattr(runner._loaded.pipeline.vae, "decode", overflow)
    with pytest.raises(PipelineError, match="values that are NaN or infinite: an overflow, likely in float16"):
        runner.run(task)


def test_rounding_to_eight_bits() -> None:
    pixels = np.array([[[0.0, 1.0, 0.5]]], np.float32)
    assert np.asarray(decoding.to_image(pixels)).tolist() == [[[0, 255, 128]]]


def test_a_folder_that_changed_is_not_loaded(model: Any, copied: Path) -> None:
    file = copied / "scheduler" / "scheduler_config.json"
    file.write_text(file.read_text().replace("}", ' , "extra": 1}'))
    reference = ModelRef(digest=model.digest, path=copied)
    with pytest.raises(ModelError, match=f"holds the model [0-9a-f]{{64}}, but the task asks for {model.digest}"):
        Runner(reference, device="cpu")


def test_a_folder_that_is_not_there_or_not_known(model: Any, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="is not a folder"):
        Runner(ModelRef(digest=model.digest, path=tmp_path / "nothing"), device="cpu")
    with pytest.raises(ModelError, match="on this machine is not known"):
        Runner(ModelRef(digest=model.digest), device="cpu")


def test_a_repository_that_is_not_in_the_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    reference = ModelRef("someone/nothing", revision="0" * 40)
    with pytest.raises(ModelError, match=r"someone/nothing@0000.*neither found in the local cache nor downloaded"):
        Runner(reference, device="cpu")


def test_a_repository_that_is_in_the_cache(
    monkeypatch: pytest.MonkeyPatch, model: Any, runner: Any, task: ImageTask, tmp_path: Path
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    reference = ModelRef("someone/tiny", revision="1" * 40)
    shutil.copytree(model.path, tmp_path / "models--someone--tiny" / "snapshots" / ("1" * 40))
    result: Any = run(task.replace(model=reference), device="cpu")
    assert result.score == runner.run(task).score
    assert result.environment.recipe["model"]["revision"] == "1" * 40


PICKLED = "diffusion_pytorch_model.bin"
WEIGHTS = "diffusion_pytorch_model.safetensors"


def cut_off(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:5000])


def drop_a_weight(file: Path, renamed: str | None = None) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(file)
    dropped = tensors.pop(sorted(tensors)[0])
    if renamed is not None:
        tensors[renamed] = dropped
    save_file(tensors, file, metadata={"format": "pt"})


def reshape_a_weight(file: Path) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(file)
    name = sorted(tensors)[0]
    tensors[name] = torch.zeros(3)
    save_file(tensors, file, metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda at: cut_off(at / "unet" / WEIGHTS), "unet in .* cannot be loaded"),
        (lambda at: (at / "vae" / WEIGHTS).write_bytes(b"no weights"), "vae in .* cannot be loaded"),
        (lambda at: (at / "vae" / WEIGHTS).unlink(), "vae in .* cannot be loaded.*no file named"),
        (lambda at: (at / "vae" / WEIGHTS).rename(at / "vae" / PICKLED), "vae in .* cannot be loaded"),
        (lambda at: drop_a_weight(at / "unet" / WEIGHTS), r"unet in .* asks for \d+ weights, and the files hold"),
        (lambda at: drop_a_weight(at / "text_encoder" / "model.safetensors"), "text_encoder in .* which is missing"),
        (lambda at: drop_a_weight(at / "unet" / WEIGHTS, "other"), "unet in .*1 missing keys .*would be random"),
        (lambda at: drop_a_weight(at / "text_encoder" / "model.safetensors", "other"), "text_encoder .*1 missing keys"),
        (lambda at: reshape_a_weight(at / "unet" / WEIGHTS), "unet in "),
        (lambda at: reshape_a_weight(at / "text_encoder" / "model.safetensors"), "text_encoder in "),
        (lambda at: shutil.rmtree(at / "vae"), "lacks the component 'vae'"),
        (lambda at: shutil.rmtree(at / "tokenizer"), "lacks the component 'tokenizer'"),
        (lambda at: shutil.rmtree(at / "scheduler"), "scheduler_config.json cannot be read"),
        (lambda at: (at / "model_index.json").unlink(), "model_index.json cannot be read"),
        (lambda at: (at / "model_index.json").write_text("[]"), "holds no JSON object"),
        (lambda at: (at / "model_index.json").write_text("{nonsense"), "model_index.json cannot be read"),
        (lambda at: (at / "unet" / "config.json").write_text("{}"), "unet in "),
        (lambda at: (at / "text_encoder" / "config.json").write_text("{"), "text_encoder in .* cannot be loaded"),
    ],
)  # fmt: skip
def test_damaged_models(copied: Path, damage: Any, message: Any) -> None:
    damage(copied)
    with pytest.raises(ModelError, match=message):
        load(copied)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"_class_name": "KolorsPipeline"},
            "is a 'KolorsPipeline'; supported are StableDiffusionPipeline and StableDiff",
        ),
        ({"_class_name": ["pipeline", "Mine"]}, "supported are"),
        ({"vae": [None, None]}, "lacks the component 'vae'"),
        ({"unet": ["mine", "Net"]}, "unet of .* is mine.Net; supported is diffusers.UNet2DConditionModel"),
    ],
)
def test_pipelines_that_are_not_supported(copied: Path, changes: Any, message: Any) -> None:
    index = copied / "model_index.json"
    index.write_text(json.dumps(json.loads(index.read_text()) | changes))
    with pytest.raises(ModelError, match=message):
        load(copied)


def test_a_variant_that_is_not_there(model: Any) -> None:
    with pytest.raises(ModelError, match=r"unet in .*fp16\.safetensors"):
        Runner(ModelRef.local(model.path, variant="fp16"), device="cpu")


def test_a_safety_checker_must_be_there(model: Any) -> None:
    with pytest.raises(ModelError, match=r"asks for a safety checker, but .* has none; set safety_checker=False"):
        Runner(model, device="cpu", safety_checker=True)


def test_a_safety_checker_runs_only_where_it_is_asked_for(
    tmp_path: Path, task: ImageTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked: Any = tiny_image_model(tmp_path / "checked", random=True, safety_checker=True)
    with Runner(checked, device="cpu") as opened:
        plain: Any = opened
        assert plain._loaded.pipeline.safety_checker is None
        assert "safety_checker" not in plain.run(task.replace(model=checked)).environment.recipe["components"]
    asked = task.replace(model=checked, safety_checker=True)
    with Runner.for_task(asked, "cpu") as opened:
        careful: Any = opened
        result: Any = careful.run(asked)
        assert "safety_checker" in result.environment.recipe["components"]
        assert careful.run(asked).score == result.score
        checker = careful._loaded.pipeline.safety_checker
        calls: list[Any] = []

        def blank(clip_input: Any, images: Any) -> Any:
            calls.append(clip_input)
            return torch.zeros_like(images), [True]

        monkeypatch.setattr(checker, "forward", blank)
        assert careful.run(asked).images[0].getextrema() == ((0, 0),) * 3
        assert len(calls) == 1
    (copied := tmp_path / "lacking").mkdir()
    shutil.copytree(checked.path, copied, dirs_exist_ok=True)
    shutil.rmtree(copied / "safety_checker")
    with pytest.raises(ModelError, match=r"asks for a safety checker, but .* lacks 'safety_checker'"):
        Runner(ModelRef.local(copied), device="cpu", safety_checker=True)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_the_dtype_reaches_every_component_and_is_recorded(model: Any, task: ImageTask, dtype: Any) -> None:
    asked = task.replace(dtype=dtype, steps=1)
    result: Any = run(asked, device="cpu")
    components = result.environment.recipe["components"]
    assert {tuple(part["dtypes"]) for part in components.values() if "dtypes" in part} == {(f"torch.{dtype}",)}


def test_the_environment_says_what_was_loaded(runner: Any, task: ImageTask, model: Any) -> None:
    environment: Any = runner.run(task).environment
    recipe = environment.recipe
    assert recipe["pipeline"] == "StableDiffusionPipeline"
    assert recipe["model"]["digest"] == model.digest
    assert recipe["scheduler"]["class"] == "DDIMScheduler"
    assert recipe["guidance"] == "one batch of two"
    assert recipe["components"]["text_encoder"]["attention"] == ["eager"]
    assert recipe["vae"]["slicing"] is recipe["vae"]["tiling"] is False
    assert str(model.path) not in environment.to_json(), "where a model lies is nobody's business"
    assert Environment.from_dict(json.loads(environment.to_json())) == environment
    other: Any = runner.run(task.replace(scheduler="PNDMScheduler", guidance_scale=1.0)).environment
    assert other.recipe_digest != environment.recipe_digest
    assert other.recipe["guidance"] == "none"
    # Not of the recipe: what the task itself says.
    assert (
        runner.run(task.replace(prompt="a dog", seed=1, steps=1)).environment.recipe_digest == environment.recipe_digest
    )


def test_the_local_environment_is_known_without_a_model(runner: Any, task: ImageTask) -> None:
    found = local_environment("cpu")
    versions = {name: metadata.version(name) for name in ("numpy", "pillow", "scipy")}
    assert versions.items() <= found.to_dict()["kernel"]["packages"].items()
    environment: Any = runner.run(task).environment
    assert found.kernel_digest == environment.kernel_digest
    assert found.numerics_digest == environment.numerics_digest
    assert found.recipe is None
    assert found.numerics == numerics()
    assert found.kernel["processor"]["capability"] == torch.backends.cpu.get_cpu_capability()
    assert found.kernel["torch"]["version"] == str(torch.__version__)
    assert Environment.from_dict(json.loads(found.to_json())) == found


def test_variables_that_change_bits_change_the_kernel_digest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MKL_CBWR", raising=False)
    before = local_environment("cpu").kernel_digest
    monkeypatch.setenv("MKL_CBWR", "COMPATIBLE")
    assert local_environment("cpu").kernel_digest != before


def test_saving(runner: Any, task: ImageTask, tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "results"
    two: Any = runner.run(task.replace(images=2, steps=1))
    assert two.save(folder) == folder
    (folder / "notes.txt").write_text("mine")
    result: Any = runner.run(task)
    result.save(str(folder))
    names = {file.name for file in folder.iterdir()}
    assert names == {"image-0.png", "task.json", "answer.json", "answer.bin", "environment.json", "notes.txt"}
    with Image.open(folder / "image-0.png") as image:
        assert image.tobytes() == result.images[0].tobytes()
    assert task_from_json((folder / "task.json").read_bytes()).digest == task.digest
    assert answer_from_bytes((folder / "answer.bin").read_bytes()) == result.score
    answer = json.loads((folder / "answer.json").read_text())
    assert answer["hashes"] == [found.hex for found in result.hashes]
    assert answer["task_digest"] == task.digest
    assert Environment.from_dict(json.loads((folder / "environment.json").read_text())) == result.environment
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(PipelineError, match="cannot be saved"):
        result.save(blocked)


def test_old_scheduler_configurations_are_corrected_without_a_word(copied: Path, task: ImageTask) -> None:
    file = copied / "scheduler" / "scheduler_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"steps_offset": 0, "clip_sample": True}))
    with load(copied) as old:
        result: Any = old.run(task.replace(model=old.model))
    assert result.environment.recipe["scheduler"]["config"]["steps_offset"] == 1
    assert result.environment.recipe["scheduler"]["config"]["clip_sample"] is False


def test_every_scheduler_of_a_task_exists(task: ImageTask) -> None:
    import diffusers

    from crynux_validate.schedulers import SCHEDULERS

    assert all(hasattr(diffusers, name) for name in SCHEDULERS)
    assert isinstance(task, ImageTask)
    assert set(loading.DTYPES) == {"float32", "float16", "bfloat16"}
