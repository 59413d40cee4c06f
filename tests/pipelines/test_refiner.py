"""SDXL with a refiner: the bits of diffusers' own two pipelines, what each field changes, audits, what is refused."""

import importlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

from crynux_validate import ImageTask, ModelRef
from crynux_validate.errors import InvalidTaskError, ModelError, PipelineError
from crynux_validate.hashing import hamming
from crynux_validate.pipelines.guard.determinism import deterministic
from crynux_validate.pipelines.models.loading import DTYPES, own_memory
from crynux_validate.pipelines.runner import Runner, run
from crynux_validate.tasks import ControlNet, Refiner, StartPicture, TextualInversion, task_from_json
from crynux_validate.testing import (
    tensor_cores,
    tiny_controlnet,
    tiny_image_model,
    tiny_lora,
    tiny_refiner_model,
    tiny_sdxl_model,
)
from tests.pipelines import jobs
from tests.pipelines.conftest import Machines
from tests.pipelines.given_pictures import RAMP, asked, noise, ramp, theirs
from tests.pipelines.test_controlnet import rebound


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[ModelRef, ModelRef]:
    folder = tmp_path_factory.mktemp("models")
    return tiny_sdxl_model(folder / "xl"), tiny_refiner_model(folder / "refiner")


@pytest.fixture(scope="module")
def refined(task: ImageTask, models: tuple[ModelRef, ModelRef]) -> ImageTask:
    """To the model a negative prompt of None is nothing, and to a refiner it is an empty text."""
    return task.replace(model=models[0], steps=5, negative_prompt=None, refiner=Refiner(models[1], 0.7, 6))


@pytest.fixture(scope="module")
def both(refined: ImageTask) -> Iterator[Any]:
    with Runner.for_task(refined, "cpu") as loaded:
        yield loaded


def traced(task: ImageTask, *taken: int) -> ImageTask:
    assert task.refiner is not None
    return task.replace(binding="trace", refiner=replace(task.refiner, taken=taken))


def own_refiner(task: Any, recipe: Any, vae: Any) -> Any:
    """Diffusers' refiner as it loads it, with the VAE of the model before."""
    diffusers: Any = importlib.import_module("diffusers")
    last = theirs("StableDiffusionXLImg2ImgPipeline", task.replace(model=task.refiner.model, refiner=None), recipe)
    last.vae = own_memory(vae)
    assert isinstance(last, diffusers.StableDiffusionXLImg2ImgPipeline)
    return last


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    ("dtype", "scheduler", "changes"),
    [
        ("float32", "DDIMScheduler", {}),
        ("bfloat16", "EulerDiscreteScheduler", {"aesthetic_score": 9.0, "negative_aesthetic_score": 1.0}),
        ("float32", "DPMSolverMultistepScheduler", {"guidance_scale": 1.0, "cutoff": 0.5}),
    ],
)
@pytest.mark.parametrize("controlled", [False, True])
def test_the_picture_is_that_of_diffusers_own_pipelines(
    dtype: Any, scheduler: str, changes: dict[str, Any], controlled: bool, refined: ImageTask, tmp_path: Path
) -> None:
    from diffusers.models.attention_dispatch import attention_backend

    if controlled and dtype == "bfloat16":
        pytest.skip("one dtype is enough for both")
    diffusers: Any = importlib.import_module("diffusers")
    assert refined.refiner is not None
    last = replace(refined.refiner, **changes)
    given = refined.replace(dtype=dtype, scheduler=scheduler, refiner=last)
    name, more = "StableDiffusionXLPipeline", dict[str, Any]()
    if controlled:
        net = tiny_controlnet(tmp_path, given.model)
        given = given.replace(controlnet=ControlNet(net, RAMP, 0.5))
        name, more = "StableDiffusionXLControlNetPipeline", {"image": ramp(), "controlnet_conditioning_scale": 0.5}
    result: Any = run(given, "cpu")
    recipe = result.environment.recipe
    with deterministic(), attention_backend("native"):
        second = {}
        if controlled:
            second["controlnet"] = diffusers.ControlNetModel.from_pretrained(str(net.path), dtype=DTYPES[dtype])
        first = theirs(name, given, recipe, **second)
        latents = first(
            **asked(given), **more, width=64, height=64, latents=noise(given), denoising_end=last.cutoff,
            output_type="latent",
        ).images  # fmt: skip
        expected = own_refiner(given, recipe["refiner"], first.vae)(
            prompt=given.prompt, negative_prompt=given.negative_prompt, image=latents, num_inference_steps=last.steps,
            denoising_start=last.cutoff, guidance_scale=last.guidance_scale, aesthetic_score=last.aesthetic_score,
            negative_aesthetic_score=last.negative_aesthetic_score,
        ).images[0]  # fmt: skip
    assert result.images[0].tobytes() == expected.tobytes()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_weights_in_prompts_hold_for_both_models(both: Any, refined: ImageTask) -> None:
    from diffusers.models.attention_dispatch import attention_backend

    from crynux_validate.pipelines.images.weighted import encodings

    given = refined.replace(prompt="a (red)1.4 cat", prompt_syntax="compel", negative_prompt="sand--")
    result, last = both.run(given), given.refiner
    recipe = result.environment.recipe
    own = {"width": 64, "height": 64, "latents": noise(given), "denoising_end": 0.7, "output_type": "latent"}
    assert last is not None
    with deterministic(), attention_backend("native"):
        first = theirs("StableDiffusionXLPipeline", given, recipe)
        second = own_refiner(given, recipe["refiner"], first.vae)
        told = [encodings(pipeline, given) for pipeline in (first, second)]
        latents = first(**asked(given) | told[0], **own).images
        expected = second(
            **told[1], image=latents, num_inference_steps=6, denoising_start=0.7, guidance_scale=5.0
        ).images[0]
    assert result.images[0].tobytes() == expected.tobytes()
    assert result.score != both.run(given.replace(prompt="a red cat")).score


def test_each_field_counts_and_nothing_stays_behind(both: Any, refined: ImageTask) -> None:
    base = refined.refiner
    assert base is not None
    changes: dict[str, dict[str, Any]] = {
        "base": {},
        "earlier": {"cutoff": 0.5},
        "more steps": {"steps": 9},
        "guidance": {"guidance_scale": 8},
        "none": {"guidance_scale": 1},
        "score": {"aesthetic_score": 9},
        "negative": {"negative_aesthetic_score": 6},
        "again": {"taken": both.run(refined).environment.recipe["refiner"]["taken"]},
    }
    scores = {
        name: both.run(refined.replace(refiner=replace(base, **change))).score.result_digest
        for name, change in changes.items()
    }
    assert scores["base"] == scores["again"]
    assert len(set(scores.values())) == len(scores) - 1
    plain = refined.replace(refiner=None)
    with Runner(refined.model, device="cpu") as alone:
        assert alone.run(plain).score.result_digest not in scores.values()


def test_another_refiner_is_another_picture(both: Any, refined: ImageTask, tmp_path: Path) -> None:
    other = Refiner(tiny_refiner_model(tmp_path, seed=1), 0.7, 6)
    found: Any = run(refined.replace(refiner=other), "cpu")
    assert found.score.result_digest != both.run(refined).score.result_digest


def test_a_lora_is_for_the_first_model_alone(both: Any, refined: ImageTask, tmp_path: Path) -> None:
    """Where the refiner does all but one step, it changes that step."""
    changed = refined.replace(loras=[tiny_lora(tmp_path, refined.model)])
    with Runner.for_task(changed, "cpu") as opened:
        runner: Any = opened
        second, own = (each._loaded.refiner.pipeline for each in (runner, both))
        for part in ("unet", "text_encoder_2"):
            weights = zip(*(getattr(each, part).parameters() for each in (second, own)), strict=True)
            assert all((here == there).all() for here, there in weights), part
        assert runner.run(changed).score.result_digest != both.run(refined).score.result_digest
        assert runner._loaded.refiner.pipeline.vae is runner._loaded.pipeline.vae


@pytest.mark.parametrize(
    ("scheduler", "dtype", "taken"),
    [
        ("EulerAncestralDiscreteScheduler", "float32", (3, 2)),
        ("UniPCMultistepScheduler", "bfloat16", (4, 2)),
        ("DPMSolverMultistepScheduler", "float32", (4, 2)),
    ],
)
def test_steps_of_both_can_be_audited(scheduler: str, dtype: Any, taken: tuple[int, int], refined: ImageTask) -> None:
    given = traced(refined.replace(scheduler=scheduler, dtype=dtype), *taken)
    told: list[tuple[int, int]] = []
    with Runner.for_task(given, "cpu") as opened:
        runner: Any = opened
        result = runner.run(given, on_step=lambda progress: told.append((progress.step, progress.steps)))
        proof = result.trace.prove(0, range(sum(taken)))
        found = runner.audit(given, result.score, proof, seed=b"a seed", count=9)
        # A node whose refiner was told another score.
        cheated = given.refiner
        assert cheated is not None
        forged = runner.run(given.replace(refiner=replace(cheated, aesthetic_score=9.0)))
        score, claimed = rebound(forged, given, sum(taken))
        told_other = runner.audit(given, score, claimed, seed=b"a seed", count=9)
    assert told == [(at, sum(taken)) for at in range(1, sum(taken) + 1)]
    assert len(found.steps) == sum(taken)
    assert found.finding == "MATCH", str(found)
    assert [step.finding.name for step in told_other.steps] == ["MATCH"] * taken[0] + ["INCOMPARABLE"] * 2
    assert "tasks with a refiner" in str(told_other)


@pytest.mark.long
def test_two_kinds_of_machines_agree(machines: Machines, refined: ImageTask) -> None:
    here: Any = run(refined, "cpu")
    assert refined.refiner is not None
    places = [refined.model.path, refined.refiner.model.path]
    found = {name: machine.run(jobs.draw_with_parts, places, refined.to_json()) for name, machine in machines.items()}
    assert found["native"]["score"] == here.score
    assert {each["recipe"] for each in found.values()} == {here.environment.recipe_digest}
    assert not np.array_equal(found["oldest"]["pixels"][0], found["native"]["pixels"][0])
    assert hamming(found["oldest"]["score"].hashes, here.score.hashes) <= 4


@pytest.mark.long
def test_it_runs_in_a_cards_arithmetic(refined: ImageTask) -> None:
    """A picture of a random model makes much of little: each step of both is as far as rounding brings it, no more."""
    given = traced(refined.replace(dtype="bfloat16"), 3, 2)
    with Runner.for_task(given, "cpu") as opened, tensor_cores("hopper"):
        emulated: Any = opened.run(given)
    with Runner.for_task(given, "cpu") as opened:
        runner: Any = opened
        plain = runner.run(given)
        proof = emulated.trace.prove(0, range(5))
        found = runner.audit(given, emulated.score, proof, seed=b"a seed", count=9)
    assert emulated.environment.numerics != plain.environment.numerics
    assert emulated.score.result_digest != plain.score.result_digest
    assert [step.finding.name for step in found.steps] == ["INCOMPARABLE"] * 5
    assert all(0 < step.errors.prediction < 2 for step in found.steps), found


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"cutoff": 0.01}, "cutoff: 0.01 leaves the model none of 5 steps; give a larger one"),
        ({"cutoff": 0.999}, "cutoff: 0.999 leaves the refiner none of 6 steps; give a smaller one"),
        ({"taken": (4, 2)}, r"taken: is \[4, 2\], but with these models the schedules have \[3, 2\] steps; name these"),
    ],
)
def test_what_the_schedules_do_not_give(change: dict[str, Any], said: str, both: Any, refined: ImageTask) -> None:
    assert refined.refiner is not None
    with pytest.raises(PipelineError, match=said):
        both.run(refined.replace(refiner=replace(refined.refiner, **change)))


@pytest.mark.parametrize(
    ("changes", "field", "code"),
    [
        ({"scheduler": "PNDMScheduler"}, "refiner", "unsupported"),
        ({"start": StartPicture(RAMP)}, "refiner", "unsupported"),
        (
            {"textual_inversions": [TextualInversion(ModelRef(digest="0" * 64), token="<x>")]},
            "refiner",
            "unsupported",
        ),
        ({"binding": "trace"}, "refiner.taken", "limits"),
        ({"scheduler": "LCMScheduler", "scheduler_args": {"original_inference_steps": 5}}, "refiner.steps", "limits"),
    ],
)
def test_tasks_that_are_refused(changes: dict[str, Any], field: str, code: str, refined: ImageTask) -> None:
    with pytest.raises(InvalidTaskError) as caught:
        refined.replace(**changes)
    assert (caught.value.field, caught.value.code) == (field, code)


@pytest.mark.parametrize(
    ("change", "field", "code"),
    [
        ({"cutoff": 0}, "cutoff", "limits"),
        ({"cutoff": 1}, "cutoff", "limits"),
        ({"cutoff": "0.8"}, "cutoff", "schema"),
        ({"steps": 0}, "steps", "limits"),
        ({"steps": 501}, "steps", "limits"),
        ({"steps": 2.0}, "steps", "schema"),
        ({"guidance_scale": 51}, "guidance_scale", "limits"),
        ({"aesthetic_score": 11}, "aesthetic_score", "limits"),
        ({"negative_aesthetic_score": -1}, "negative_aesthetic_score", "limits"),
        ({"taken": [4]}, "taken", "schema"),
        ({"taken": [4, True]}, "taken.1", "schema"),
        ({"taken": [0, 4]}, "taken.0", "limits"),
        ({"taken": [4, 7]}, "taken.1", "limits"),
        ({"taken": [6, 4]}, "taken.0", "limits"),
        ({"model": {"repository": "owner/name", "revision": "main"}}, "model.revision", "schema"),
        ({"strength": 1}, "strength", "unsupported"),
    ],
)
def test_a_strangers_refiner(change: dict[str, Any], field: str, code: str, refined: ImageTask) -> None:
    fields: Any = refined.to_dict()
    fields["refiner"] |= change
    with pytest.raises(InvalidTaskError) as caught:
        task_from_json(fields)
    assert (caught.value.field, caught.value.code) == (f"refiner.{field}", code)


def test_json_and_back(refined: ImageTask) -> None:
    given = traced(refined, 4, 2)
    again: Any = task_from_json(given.to_json())
    assert again == given
    assert again.digest != refined.digest
    assert again.refiner.model.path is None
    assert refined.refiner is not None
    assert again.at(refined.refiner.model.path).refiner.model.path == refined.refiner.model.path


def test_models_that_do_not_fit_are_found_by_their_configuration(refined: ImageTask, tmp_path: Path) -> None:
    """No weights are there to be read."""

    def hollow(model: ModelRef, name: str, *changes: tuple[str, str, Any]) -> ModelRef:
        assert model.path is not None
        shutil.copytree(model.path, tmp_path / name)
        for weights in (tmp_path / name).rglob("*.safetensors"):
            weights.write_bytes(b"")
        for file, key, value in changes:
            config = json.loads((tmp_path / name / file).read_text())
            (tmp_path / name / file).write_text(json.dumps({**config, key: value}))
        return ModelRef.local(tmp_path / name)

    assert refined.refiner is not None
    first, second = refined.model, refined.refiner.model
    base = hollow(first, "base")
    plain = refined.replace(model=base)
    index = "model_index.json"
    for model, said in (
        (base, "refiner .* is a 'StableDiffusionXLPipeline'; expected a StableDiffusionXLImg2ImgPipeline"),
        (hollow(second, "no-score", (index, "requires_aesthetics_score", False)), "requires_aesthetics_score"),
        (hollow(second, "wide", ("unet/config.json", "in_channels", 9)), "takes 9 channels, and the model has 4"),
        (hollow(second, "scaled", ("vae/config.json", "scaling_factor", 0.5)), "its scaling_factor is 0.5"),
    ):
        with pytest.raises(ModelError, match=said):
            run(plain.replace(refiner=Refiner(model)), "cpu")
    with pytest.raises(ModelError, match="is a refiner, which draws no picture of its own"):
        run(plain.replace(model=hollow(second, "alone"), refiner=None), "cpu")
    with pytest.raises(ModelError, match="refiner: not supported for a StableDiffusionPipeline"):
        run(refined.replace(model=hollow(tiny_image_model(tmp_path / "sd"), "old")), "cpu")
    with pytest.raises(ModelError, match=r"refiner: .* holds the model"):
        run(refined.replace(refiner=Refiner(replace(second, digest="0" * 64))), "cpu")
