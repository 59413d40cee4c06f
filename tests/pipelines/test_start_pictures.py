"""Image to image and inpainting: the bits of diffusers' own pipelines, what each field changes, what is refused."""

import importlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from crynux_validate import ImageTask, ModelRef
from crynux_validate.audits.layout import Content
from crynux_validate.errors import InvalidTaskError, ModelError, PipelineError
from crynux_validate.hashing import hamming
from crynux_validate.pipelines.guard.determinism import deterministic
from crynux_validate.pipelines.images.noising import noise_tensor
from crynux_validate.pipelines.images.starting import begin
from crynux_validate.pipelines.models.loading import DTYPES
from crynux_validate.pipelines.noise import Purpose
from crynux_validate.pipelines.runner import Runner, run
from crynux_validate.tasks import ControlNet, PictureRef, StartPicture, task_from_json
from crynux_validate.testing import tensor_cores, tiny_controlnet, tiny_flow_model, tiny_sdxl_model
from tests.pipelines import jobs
from tests.pipelines.conftest import Machines
from tests.pipelines.given_pictures import DISC, RAMP, Answers, asked, disc, noise, png, ramp, theirs
from tests.pipelines.test_controlnet import rebound
from tests.pipelines.test_image_audit import SETTINGS

HALF = Image.fromarray(np.repeat(np.where(np.arange(64) < 32, 255, 0)[None], 64, 0).astype(np.uint8))
MASK = PictureRef.of(png(HALF))


@pytest.fixture(scope="module")
def xl(tmp_path_factory: pytest.TempPathFactory) -> ModelRef:
    return tiny_sdxl_model(tmp_path_factory.mktemp("models") / "xl")


@pytest.fixture(scope="module")
def started(task: ImageTask) -> ImageTask:
    return task.replace(steps=5, start=StartPicture(RAMP, 0.6))


@pytest.fixture(scope="module")
def sd(model: ModelRef) -> Iterator[Any]:
    with Runner(model, device="cpu") as loaded:
        yield loaded


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    ("kind", "dtype", "scheduler", "mask", "strength"),
    [
        ("sd", "float32", "DDIMScheduler", None, 0.6),
        ("sd", "float32", "DPMSolverMultistepScheduler", None, 1.0),
        ("sd", "bfloat16", "EulerDiscreteScheduler", MASK, 0.6),
        ("sd", "float32", "UniPCMultistepScheduler", MASK, 1.0),
        ("xl", "float32", "EulerDiscreteScheduler", None, 0.6),
        ("xl", "bfloat16", "DDIMScheduler", MASK, 0.4),
    ],
)
def test_the_picture_is_that_of_diffusers_own_pipeline(
    kind: str, dtype: Any, scheduler: str, mask: Any, strength: float, model: ModelRef, xl: ModelRef, started: ImageTask
) -> None:
    """It is given the latents of the picture, and the noise that the seed gives; the steps are audited, too."""
    from diffusers.models.attention_dispatch import attention_backend

    base, name = (model, "StableDiffusion") if kind == "sd" else (xl, "StableDiffusionXL")
    given = started.replace(
        model=base, dtype=dtype, scheduler=scheduler, binding="trace", start=StartPicture(RAMP, strength, mask)
    )
    with Runner.for_task(given, "cpu") as opened:
        runner: Any = opened
        result = runner.run(given)
        steps = int(5 * strength)
        proof = result.trace.prove(0, range(steps))
        audit = runner.audit(given, result.score, proof, seed=b"a seed", count=99)
        with deterministic(), torch.no_grad(), attention_backend("native"):
            first = begin(runner._loaded, given.replace(start=StartPicture(RAMP, strength, MASK)), 0)
    assert len(audit.steps) == steps
    assert audit.finding == "MATCH", str(audit)
    assert first.kept is not None
    latents = first.kept.picture
    with deterministic(), attention_backend("native"):
        pipeline = theirs(f"{name}{'Inpaint' if mask else 'Img2Img'}Pipeline", given, result.environment.recipe)
        own = torch.float32 if kind == "xl" and pipeline.vae.config.force_upcast else DTYPES[dtype]
        drawn = noise_tensor(given.seed, 0, 0, latents.shape, own, "cpu", Purpose.PICTURE)
        with Answers(drawn), torch.no_grad():
            pixels = pipeline.image_processor.preprocess(ramp()).to(DTYPES[dtype])
            pipeline.vae.to(own)
            again = pipeline.vae.encode(pixels.to(own)).latent_dist.sample().to(DTYPES[dtype])
            pipeline.vae.to(DTYPES[dtype])
        assert torch.equal(latents, pipeline.vae.config.scaling_factor * again)
        more: dict[str, Any] = {}
        if mask:
            more = {"mask_image": HALF, "masked_image_latents": torch.zeros_like(latents), "width": 64, "height": 64}
        with Answers(noise(given)):
            expected = pipeline(**asked(given), image=latents, strength=strength, **more).images[0]
    assert result.images[0].tobytes() == expected.tobytes()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_with_a_controlnet_too(sd: Any, started: ImageTask, model: ModelRef, tmp_path: Path) -> None:
    library: Any = importlib.import_module("diffusers")
    from diffusers.models.attention_dispatch import attention_backend

    net = tiny_controlnet(tmp_path, model)
    given = started.replace(controlnet=ControlNet(net, DISC, 0.5), binding="trace")
    with Runner.for_task(given, "cpu") as runner:
        result: Any = runner.run(given)
        audit = runner.audit(given, result.score, result.trace.prove(0, range(3)), seed=b"a seed", count=9)
    assert audit.finding == "MATCH", str(audit)
    with deterministic(), torch.no_grad(), attention_backend("native"):
        kept = begin(sd._loaded, started.replace(start=StartPicture(RAMP, 0.6, MASK)), 0).kept
    assert kept is not None
    with deterministic(), attention_backend("native"):
        network = library.ControlNetModel.from_pretrained(str(net.path))
        name = "StableDiffusionControlNetImg2ImgPipeline"
        pipeline = theirs(name, given, result.environment.recipe, controlnet=network)
        with Answers(noise(given)):
            expected = pipeline(
                **asked(given), image=kept.picture, control_image=disc().convert("RGB"), strength=0.6, height=64,
                width=64, controlnet_conditioning_scale=0.5,
            ).images[0]  # fmt: skip
    assert result.images[0].tobytes() == expected.tobytes()


def test_each_field_counts_and_nothing_stays_behind(sd: Any, started: ImageTask) -> None:
    plain = sd.run(started.replace(start=None))
    base = started.start
    assert base is not None
    scores = {
        name: sd.run(started.replace(start=one)).score
        for name, one in {
            "whole": base,
            "stronger": replace(base, strength=0.8),
            "all": replace(base, strength=1.0),
            "other picture": replace(base, image=DISC),
            "masked": replace(base, mask=MASK),
            "other mask": replace(base, mask=DISC),
            "again": base,
        }.items()
    }
    seeds = {sd.run(started.replace(seed=seed)).score.hex for seed in (1, 2, 3)}
    assert scores["whole"] == scores["again"]
    assert len({score.hex for score in scores.values()} | {plain.score.hex}) == len(scores)
    assert len(seeds) == 3
    assert sd.run(started.replace(start=None)).score == plain.score


def test_each_image_starts_with_noise_of_its_own(sd: Any, started: ImageTask) -> None:
    both = sd.run(started.replace(images=2)).images
    assert both[0].tobytes() != both[1].tobytes()
    assert both[0].tobytes() == sd.run(started).images[0].tobytes()


def test_what_a_mask_keeps_is_the_picture(sd: Any, started: ImageTask) -> None:
    given = started.replace(start=StartPicture(RAMP, 1.0, MASK), binding="trace")
    last = sd.run(given).trace.prove(0, [0], pixels=False).array(Content.LATENT, 5)
    with deterministic(), torch.no_grad():
        kept: Any = begin(sd._loaded, given, 0).kept
    picture = kept.picture[0].numpy()
    assert (last[:, :, 4:] == picture[:, :, 4:]).all(), "black: kept"
    assert not np.isclose(last[:, :, :4], picture[:, :, :4], atol=0.01).any(axis=0).all(), "white: drawn"


@pytest.mark.parametrize(
    ("name", "arguments"), [each for each in SETTINGS if each[0] != "PNDMScheduler"], ids=lambda found: str(found)
)
def test_steps_of_every_scheduler_can_be_audited(
    sd: Any, started: ImageTask, name: str, arguments: dict[str, Any]
) -> None:
    given = started.replace(
        scheduler=name, scheduler_args=arguments, steps=6, binding="trace", start=StartPicture(RAMP, 0.7, MASK)
    )
    result = sd.run(given)
    found = sd.audit(given, result.score, result.trace.prove(0, range(4)), seed=b"a seed", count=99)
    assert len(found.steps) == 4
    assert found.finding == "MATCH", str(found)
    other = sd.run(given.replace(seed=8))
    score, proof = rebound(other, given, 4)
    found = sd.audit(given, score, proof, seed=b"a seed", count=99)
    assert found.first.finding == "INCOMPARABLE"
    assert "no band for latents of pictures" in found.first.reason


def test_steps_that_are_taken_are_reported(sd: Any, started: ImageTask) -> None:
    told: list[tuple[int, int]] = []
    sd.run(started, on_step=lambda progress: told.append((progress.step, progress.steps)))
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_two_kinds_of_machines_agree(machines: Machines, started: ImageTask, tmp_path: Path) -> None:
    asked_for = started.replace(start=StartPicture(RAMP, 0.6, MASK))
    here: Any = run(asked_for, "cpu")
    (tmp_path / "ramp.png").write_bytes(png(ramp()))
    (tmp_path / "mask.png").write_bytes(png(HALF))
    places = [asked_for.model.path, tmp_path / "ramp.png", tmp_path / "mask.png"]
    found = {name: machine.run(jobs.draw_with_parts, places, asked_for.to_json()) for name, machine in machines.items()}
    assert found["native"]["score"] == here.score
    assert {each["recipe"] for each in found.values()} == {here.environment.recipe_digest}
    assert not np.array_equal(found["oldest"]["pixels"][0], found["native"]["pixels"][0])
    assert hamming(found["oldest"]["score"].hashes, here.score.hashes) <= 2


def test_it_runs_in_a_cards_arithmetic(started: ImageTask) -> None:
    given = started.replace(dtype="bfloat16", steps=2)
    plain: Any = run(given, "cpu")
    with tensor_cores("hopper"):
        emulated: Any = run(given, "cpu")
    assert emulated.environment.numerics != plain.environment.numerics
    assert hamming(emulated.hashes[0], plain.hashes[0]) <= 8


@pytest.mark.parametrize(
    ("changes", "field", "code"),
    [
        ({"start": StartPicture(RAMP, 0.1)}, "start.strength", "limits"),
        ({"scheduler": "PNDMScheduler"}, "start", "unsupported"),
    ],
)
def test_tasks_that_are_refused(changes: dict[str, Any], field: str, code: str, started: ImageTask) -> None:
    with pytest.raises(InvalidTaskError) as caught:
        started.replace(**changes)
    assert (caught.value.field, caught.value.code) == (field, code)


def test_families_that_are_given_no_pictures_say_so(started: ImageTask, model: ModelRef, tmp_path: Path) -> None:
    flow: Any = {"model": tiny_flow_model(tmp_path / "flow", "sd3"), "scheduler": "FlowMatchEulerDiscreteScheduler"}
    net = ControlNet(tiny_controlnet(tmp_path / "net", model), RAMP)
    with pytest.raises(ModelError, match="controlnet: not supported for a StableDiffusion3Pipeline; leave it out"):
        run(started.replace(**flow, start=None, controlnet=net), "cpu")


@pytest.mark.parametrize(
    ("change", "field", "code"),
    [
        ({"strength": 0}, "strength", "limits"),
        ({"strength": 1.1}, "strength", "limits"),
        ({"strength": None}, "strength", "schema"),
        ({"image": None}, "image", "schema"),
        ({"mask": "0" * 64}, "mask", "schema"),
        ({"mask": {"digest": 1}}, "mask.digest", "schema"),
        ({"noise": 1}, "noise", "unsupported"),
    ],
)
def test_a_strangers_start(change: dict[str, Any], field: str, code: str, started: ImageTask) -> None:
    fields: Any = started.to_dict()
    fields["start"] |= change
    with pytest.raises(InvalidTaskError) as caught:
        task_from_json(fields)
    assert (caught.value.field, caught.value.code) == (f"start.{field}", code)


def test_json_and_back_and_where_pictures_lie(started: ImageTask, tmp_path: Path) -> None:
    given = started.replace(start=StartPicture(RAMP, 0.5, MASK))
    again: Any = task_from_json(given.to_json())
    assert again == given
    with pytest.raises(PipelineError, match=r"start.image: the file of the picture"):
        run(again.at(given.model.path), "cpu")
    (tmp_path / "ramp.png").write_bytes(png(ramp()))
    with pytest.raises(PipelineError, match=r"start.mask: the file of the picture"):
        run(again.at(given.model.path, tmp_path / "ramp.png"), "cpu")
    wide = given.replace(start=StartPicture(RAMP, 0.5, PictureRef.of(png(HALF.resize((32, 64))))))
    with pytest.raises(PipelineError, match=r"start.mask: .* is 32x64; expected 64x64"):
        run(wide, "cpu")
