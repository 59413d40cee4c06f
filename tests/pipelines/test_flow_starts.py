"""SD 3 and FLUX.1 starting with a picture: the bits of diffusers, audits, and what each field changes."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from crynux_validate import ImageTask
from crynux_validate.audits.layout import skipped_steps, step_count
from crynux_validate.errors import InvalidTaskError, PipelineError
from crynux_validate.hashing import hamming
from crynux_validate.pipelines.guard.determinism import deterministic
from crynux_validate.pipelines.images.noising import noise_tensor
from crynux_validate.pipelines.images.starting import begin
from crynux_validate.pipelines.models.loading import DTYPES
from crynux_validate.pipelines.noise import Purpose
from crynux_validate.pipelines.runner import Runner
from crynux_validate.schedulers import FLOW_SCHEDULERS
from crynux_validate.tasks import StartPicture
from crynux_validate.testing import tensor_cores, tiny_flow_model
from tests.pipelines import jobs
from tests.pipelines.conftest import Machines
from tests.pipelines.given_pictures import DISC, RAMP, Answers, asked, noise, png, ramp, theirs
from tests.pipelines.test_start_pictures import HALF, MASK

PIPELINES = {"sd3": "StableDiffusion3", "flux": "Flux"}
Tasks = Callable[..., ImageTask]


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> Tasks:
    folder = tmp_path_factory.mktemp("starts")

    def of(family: Any, **changes: Any) -> ImageTask:
        base = ImageTask(
            model=tiny_flow_model(folder / family, family), prompt="a big blue star on sand", seed=7, steps=5, width=64,
            height=64, scheduler=FLOW_SCHEDULERS[0], guidance_scale=1.0 if family == "qwen-image" else 3.5,
            start=StartPicture(RAMP, 0.5),
        )  # fmt: skip
        return base.replace(**changes)

    return of


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    ("family", "dtype", "mask", "strength", "arguments"),
    [
        ("sd3", "float32", None, 0.5, {}),
        ("sd3", "bfloat16", MASK, 0.6, {"use_karras_sigmas": True}),
        ("sd3", "float32", MASK, 1.0, {}),
        ("flux", "bfloat16", None, 0.6, {}),
        ("flux", "float32", None, 1.0, {"use_exponential_sigmas": True}),
        ("flux", "float32", MASK, 0.5, {}),
        ("flux", "bfloat16", MASK, 1.0, {"use_karras_sigmas": True}),
    ],
)
def test_the_picture_is_that_of_diffusers_own_pipeline(
    family: str, dtype: Any, mask: Any, strength: float, arguments: dict[str, Any], tasks: Tasks
) -> None:
    from diffusers.models.attention_dispatch import attention_backend

    start = StartPicture(RAMP, strength, mask)
    given = tasks(family, dtype=dtype, scheduler_args=arguments, binding="trace", start=start)
    with Runner.for_task(given, "cpu") as opened:
        runner: Any = opened
        result = runner.run(given)
        steps = step_count(given)
        audit = runner.audit(given, result.score, result.trace.prove(0, range(steps)), seed=b"a seed", count=99)
        with deterministic(), torch.no_grad(), attention_backend("native"):
            kept = begin(runner._loaded, given.replace(start=replace(start, mask=MASK)), 0).kept
    assert len(audit.steps) == steps == (3 if strength < 1 else 5)
    assert audit.finding == "MATCH", str(audit)
    assert kept is not None
    with deterministic(), attention_backend("native"):
        pipeline = theirs(
            f"{PIPELINES[family]}{'Inpaint' if mask else 'Img2Img'}Pipeline", given, result.environment.recipe
        )
        vae, own = pipeline.vae, DTYPES[given.dtype]
        drawn = noise_tensor(given.seed, 0, 0, kept.picture.shape, own, "cpu", Purpose.PICTURE)
        with Answers(drawn), torch.no_grad():
            encoded = vae.encode(pipeline.image_processor.preprocess(ramp()).to(own)).latent_dist.sample()
        assert torch.equal(kept.picture, (encoded - vae.config.shift_factor) * vae.config.scaling_factor)
        more: dict[str, Any] = {"width": 64, "height": 64}
        if mask:
            more |= {"mask_image": HALF, "masked_image_latents": torch.zeros_like(kept.picture)}
        forgets = family == "sd3" and mask is not None  # its pipeline decodes without the VAE's shift
        with Answers(noise(given, 16)), torch.no_grad():
            found = pipeline(
                **asked(given),
                image=kept.picture,
                strength=strength,
                **more,
                output_type="latent" if forgets else "pil",
            ).images
            if forgets:
                image = vae.decode(found / vae.config.scaling_factor + vae.config.shift_factor).sample
                found = pipeline.image_processor.postprocess(image)
        expected = found[0]
    assert result.images[0].tobytes() == expected.tobytes()


@pytest.mark.parametrize("family", PIPELINES)
def test_each_field_counts_and_nothing_stays_behind(family: str, tasks: Tasks) -> None:
    task = tasks(family)
    base = task.start
    assert base is not None
    starts = [None, replace(base, strength=0.7), replace(base, image=DISC), replace(base, mask=MASK)]
    with Runner.for_task(task, "cpu") as runner:
        first = runner.run(task).score
        assert len({runner.run(task.replace(start=start)).score.hex for start in starts} | {first.hex}) == 5
        assert runner.run(task).score == first


@pytest.mark.parametrize("family", PIPELINES)
def test_two_kinds_of_machines_agree(family: str, machines: Machines, tasks: Tasks, tmp_path: Path) -> None:
    task = tasks(family, start=StartPicture(RAMP, 0.6, MASK))
    (tmp_path / "ramp.png").write_bytes(png(ramp()))
    (tmp_path / "mask.png").write_bytes(png(HALF))
    places = [task.model.path, tmp_path / "ramp.png", tmp_path / "mask.png"]
    found = {name: machine.run(jobs.draw_with_parts, places, task.to_json()) for name, machine in machines.items()}
    assert {each["recipe"] for each in found.values()} == {found["native"]["recipe"]}
    assert hamming(found["oldest"]["score"].hashes, found["native"]["score"].hashes) < 16


def test_it_runs_in_a_cards_arithmetic(tasks: Tasks) -> None:
    task = tasks("flux", dtype="bfloat16", steps=2, max_sequence_length=16, start=StartPicture(RAMP, 0.5, MASK))
    with Runner.for_task(task, "cpu") as runner:
        plain: Any = runner.run(task)
        with tensor_cores("hopper"):
            emulated: Any = runner.run(task)
    assert emulated.environment.numerics != plain.environment.numerics
    assert emulated.images[0].tobytes() != plain.images[0].tobytes()


@pytest.mark.parametrize(("steps", "strength", "taken"), [(25, 0.5, 13), (25, 0.56, 15), (4, 0.1, 1), (10, 0.7, 7)])
def test_a_part_of_a_step_is_a_whole_one(steps: int, strength: float, taken: int, tasks: Tasks) -> None:
    """As diffusers counts for flows; for other schedulers it leaves such a part out."""
    task = tasks("sd3", steps=steps, start=StartPicture(RAMP, strength))
    assert (step_count(task), skipped_steps(task)) == (taken, steps - taken)
    with pytest.raises(InvalidTaskError, match="less than one of 10 steps"):
        task.replace(steps=10, start=StartPicture(RAMP, 1e-20))


@pytest.mark.parametrize("family", ["z-image", "flux-2-klein", "qwen-image"])
def test_other_flows_do_not_start_with_a_picture(family: str, tasks: Tasks) -> None:
    task = tasks(family, steps=2)
    with (
        Runner.for_task(task, "cpu") as runner,
        pytest.raises(PipelineError, match=r"start: a .*Pipeline does not start with a picture here; leave it out"),
    ):
        runner.run(task)
