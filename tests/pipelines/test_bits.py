"""The same bits again: in a second run, in another process, for each image alone, with each scheduler."""

from typing import Any

import numpy as np
import pytest
import torch

from crynux_validate.answers import ImageScore, similarity_score
from crynux_validate.errors import DeterminismError
from crynux_validate.pipelines.images import drawing as images
from crynux_validate.pipelines.images import noising
from crynux_validate.pipelines.images.noising import Noise
from crynux_validate.pipelines.noise import normal
from crynux_validate.schedulers import NOISE_SCHEDULERS, SCHEDULERS
from crynux_validate.tasks import ImageTask
from tests.pipelines import jobs
from tests.pipelines.conftest import Machines

# The other machines load while the first tests run; those that ask them come last.
pytestmark = pytest.mark.usefixtures("machines")

SCHEDULER_SETTINGS: list[tuple[str, dict[str, Any]]] = [(name, {}) for name in NOISE_SCHEDULERS] + [
    ("DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++", "use_karras_sigmas": True}),
    ("PNDMScheduler", {"skip_prk_steps": False}),
]


def pixels(result: Any) -> list[bytes]:
    return [image.tobytes() for image in result.images]


@pytest.mark.parametrize("scheduler", ["DDIMScheduler", "EulerAncestralDiscreteScheduler"])
def test_an_image_does_not_depend_on_those_before_it(
    runner: Any, task: ImageTask, scheduler: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = task.replace(scheduler=scheduler, images=3, steps=2)
    together = pixels(runner.run(asked))
    assert len(set(together)) == 3
    assert pixels(runner.run(asked.replace(images=1))) == together[:1]
    # The last image alone: the numbers of the images are shifted, nothing else.
    draw = images._draw
    monkeypatch.setattr(
        images, "_draw", lambda loaded, task, stages, image, *rest: draw(loaded, task, stages, image + 2, *rest)
    )
    assert pixels(runner.run(asked.replace(images=1))) == together[2:]


@pytest.mark.parametrize(("name", "arguments"), SCHEDULER_SETTINGS)
def test_every_scheduler_is_repeatable_and_draws_only_our_noise(
    runner: Any, task: ImageTask, name: Any, arguments: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = task.replace(scheduler=name, scheduler_args=arguments, steps=4)
    draws: list[Any] = []
    answer = Noise._answer

    def count(self: Noise, *rest: Any) -> torch.Tensor:
        draws.append(rest)
        return answer(self, *rest)

    monkeypatch.setattr(Noise, "_answer", count)
    torch.manual_seed(1)
    first: Any = runner.run(asked)
    drawn = len(draws)
    state = torch.get_rng_state()
    torch.manual_seed(2)
    torch.rand(7)
    second: Any = runner.run(asked)
    assert pixels(first) == pixels(second)
    torch.manual_seed(1)
    assert torch.equal(state, torch.get_rng_state()), "torch's own generator was drawn from"
    if name != "DPMSolverMultistepScheduler":
        assert bool(drawn) == SCHEDULERS[name].draws_noise
    elif arguments:
        assert drawn
    assert first.environment.recipe["scheduler"]["class"] == name
    for key, value in asked.scheduler_args.items():
        if key != "original_inference_steps":
            assert first.environment.recipe["scheduler"]["config"][key] == value


def test_every_draw_has_a_key_of_its_own(runner: Any, task: ImageTask, monkeypatch: pytest.MonkeyPatch) -> None:
    keys: list[Any] = []

    def remember(seed: int, *, image: int, draw: int, **more: Any) -> Any:
        keys.append((seed, image, draw))
        return normal(seed, image=image, draw=draw, **more)

    monkeypatch.setattr(noising, "normal", remember)
    runner.run(task.replace(scheduler="EulerAncestralDiscreteScheduler", images=2, steps=3))
    assert keys == [(task.seed, image, draw) for image in range(2) for draw in range(4)]


def test_seed_image_prompt_and_steps_all_matter(runner: Any, task: ImageTask) -> None:
    changes: list[dict[str, Any]] = [
        {},
        {"seed": 8},
        {"prompt": "a blue dog"},
        {"steps": 2},
        {"guidance_scale": 1.0},
        {"negative_prompt": "red"},
    ]
    results = [runner.run(task.replace(**change)) for change in changes]
    assert len({pixels(result)[0] for result in results}) == len(changes)


def test_ancestral_noise_follows_the_seed_not_the_step_alone(runner: Any, task: ImageTask) -> None:
    asked = task.replace(scheduler="EulerAncestralDiscreteScheduler", steps=2)
    assert pixels(runner.run(asked)) != pixels(runner.run(asked.replace(seed=asked.seed + 1)))


def test_the_tap_answers_both_ways_of_asking_and_nothing_else() -> None:
    with Noise(seed=3, image=1):
        first = torch.randn(2, 3)
        second = torch.randn((2, 3), dtype=torch.float16, generator=None, device="cpu")
        third = torch.randn_like(torch.zeros(4, dtype=torch.float64))
        fourth = torch.randn(size=(5,))
        zeros = torch.zeros(2)
    expected = [
        normal(3, image=1, draw=draw, shape=shape) for draw, shape in [(1, (2, 3)), (2, (2, 3)), (3, (4,)), (4, (5,))]
    ]
    assert torch.equal(first, torch.from_numpy(expected[0]))
    assert torch.equal(second, torch.from_numpy(expected[1]).half())
    assert torch.equal(third, torch.from_numpy(expected[2]).double())
    assert torch.equal(fourth, torch.from_numpy(expected[3]))
    assert torch.equal(zeros, torch.zeros(2))


def test_random_numbers_from_elsewhere_are_found(runner: Any, task: ImageTask, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = runner._loaded.pipeline
    decode = pipeline.vae.decode

    def noisy(*args: Any, **kwargs: Any) -> Any:
        torch.rand(1)
        return decode(*args, **kwargs)

    monkeypatch.setattr(pipeline.vae, "decode", noisy)
    with pytest.raises(DeterminismError, match="drew random numbers from torch's own generator"):
        runner.run(task)


def test_a_callers_own_random_numbers_are_no_fault(runner: Any, task: ImageTask) -> None:
    assert pixels(runner.run(task, on_step=lambda _: torch.rand(3))) == pixels(runner.run(task))


def test_the_score_is_of_the_raw_pixels(runner: Any, task: ImageTask) -> None:
    result: Any = runner.run(task)
    assert result.score == ImageScore.from_images(result.images)
    assert b"".join(found.bits for found in result.hashes) == result.score.hashes


def test_noise_has_the_same_bits_on_every_machine_and_torchs_has_not(machines: Machines) -> None:
    here = jobs.numbers()
    there = {name: machine.run(jobs.numbers) for name, machine in machines.items()}
    assert there["native"] == here
    assert there["oldest"]["ours"] == here["ours"]
    assert there["oldest"]["torch"] != here["torch"], "this machine cannot show what our noise is for"


def test_a_second_run_and_another_process_give_equal_bits(machines: Machines, runner: Any, task: ImageTask) -> None:
    asked = task.replace(images=2)
    there = machines["native"].submit(jobs.draw, task.model.path, asked.to_json())
    first, second = runner.run(asked), runner.run(asked)
    assert pixels(first) == pixels(second)
    assert first.score == second.score
    assert [image.tobytes() for image in there.result()["pixels"]] == pixels(first)
    assert there.result()["score"] == first.score
    environment = first.environment
    expected = (environment.kernel_digest, environment.numerics_digest, environment.recipe_digest)
    assert tuple(there.result()[part] for part in ("kernel", "numerics", "recipe")) == expected


def test_other_hardware_gives_other_pixels_and_close_hashes(machines: Machines, runner: Any, task: ImageTask) -> None:
    asked = task.replace(width=128, height=128, steps=8)
    there = machines["oldest"].submit(jobs.draw, task.model.path, asked.to_json())
    here: Any = runner.run(asked)
    other = there.result()
    difference = np.abs(np.asarray(here.images[0]).astype(int) - other["pixels"][0])
    assert difference.max() > 0
    assert difference.mean() < 4
    distance = similarity_score(here.score, other["score"])
    assert distance is not None
    assert distance < 16, "honest machines agree at the default threshold"
    assert other["score"].result_digest != here.score.result_digest
    # The machines differ; the guard's switches and the recipe do not.
    assert other["kernel"] != here.environment.kernel_digest
    assert other["numerics"] == here.environment.numerics_digest
    assert other["recipe"] == here.environment.recipe_digest
