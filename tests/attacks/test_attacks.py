"""Each attack runs on a small task and gives what it says: cost, shape, other pixels than the honest ones."""

import importlib.util
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from crynux_validate import ImageTask, hamming, image_hash
from crynux_validate.algorithms import IMAGE_ALGORITHMS, ImageAlgorithm
from crynux_validate.answers import similarity_score
from crynux_validate.audits.layout import Content
from crynux_validate.errors import PipelineError
from crynux_validate.schedulers import NOISE_SCHEDULERS
from crynux_validate.testing import tiny_image_model

if not all(map(importlib.util.find_spec, ("torch", "diffusers", "transformers"))):
    pytest.skip("needs the extra 'image'", allow_module_level=True)

from attacks import (
    ATTACKS,
    BAD_FAITH,
    Answer,
    DoesNotFit,
    Machine,
    bad_faith,
    fitted,
    less_work,
    machine,
    no_work,
    rounding,
    scenes,
)

COSTS = {
    "noise": 0.0,
    "plain-grey": 0.0,
    "cached-picture": 0.0,
    "half-the-steps": 0.5,
    "quarter-of-the-steps": 0.25,
    "reused-predictions": 0.5,
    "no-guidance": 0.5,
    "guidance-5": 1.0,
    "guidance-7": 1.0,
    "lower-resolution": 0.25,
    "enlarged-from-8": 1.0,
    "enlarged-from-16": 1.0,
    "enlarged-from-32": 1.0,
    "enlarged-from-64": 1.0,
    "int8-weights": 1.0,
    "int4-weights": 1.0,
    "bfloat16": 1.0,
    "other-seed": 1.0,
    "other-prompt": 1.0,
    "other-model": 1.0,
    "without-colour": 1.0,
    "exchanged-hues": 1.0,
    "from-the-hash": 0.0,
    "by-gradient": 0.0,
    "by-hill-climbing": 0.0,
}
"""Of a task of 128x128 in 4 steps with guidance, in float32."""

NO_MODEL = {name for name, cost in COSTS.items() if cost == 0}

Made = Mapping[str, Answer]


@pytest.fixture(name="cheat", scope="module")
def _cheat() -> Iterator[Machine]:
    with Machine() as made:
        yield made


@pytest.fixture(name="task", scope="module")
def _task(tmp_path_factory: pytest.TempPathFactory) -> ImageTask:
    (task, _) = scenes.tasks(tiny_image_model(tmp_path_factory.mktemp("trained") / "sd"), 2)
    return task.replace(steps=4)


@pytest.fixture(name="made", scope="module")
def _made(cheat: Machine, task: ImageTask) -> Made:
    """What each attack hands in."""
    return {name: ATTACKS[name](task, cheat) for name in COSTS}


def test_every_attack_has_a_cost_here() -> None:
    assert {*COSTS} | {"enlarged-from-128"} == {*ATTACKS}


@pytest.mark.parametrize("name", COSTS)
def test_what_an_attack_hands_in(name: str, made: Made, cheat: Machine, task: ImageTask) -> None:
    answer = made[name]
    assert (answer.name, answer.saves, answer.task) == (name, ATTACKS[name].saves, task)
    assert answer.cost == pytest.approx(COSTS[name])
    assert [(picture.shape, picture.dtype.name) for picture in answer.pixels] == [((128, 128, 3), "uint8")]
    honest = cheat.honest(task)
    assert answer.score.result_digest != honest.score.result_digest
    assert answer.score.hashes == answer.hashes[0].bits
    assert (answer.result is None) == (name in NO_MODEL)


@pytest.mark.parametrize("name", sorted(NO_MODEL - {"by-gradient", "by-hill-climbing", "from-the-hash"}))
def test_no_work_gives_the_same_for_the_same_task(name: str, made: Made, cheat: Machine, task: ImageTask) -> None:
    assert ATTACKS[name](task, cheat).score == made[name].score
    other = ATTACKS[name](task.replace(seed=99), cheat)
    assert (other.score == made[name].score) == (name != "noise")


def test_after_each_attack_the_model_is_what_it_was(cheat: Machine, made: Made, task: ImageTask) -> None:
    assert made
    with Machine() as untouched:
        assert cheat.run(task).pixels[0].tobytes() == untouched.honest(task).images[0].tobytes()


@pytest.mark.parametrize("name", ["half-the-steps", "int8-weights", "guidance-7", "bfloat16", "enlarged-from-64"])
def test_what_the_hash_does_not_see_agrees(name: str, made: Made, cheat: Machine, task: ImageTask) -> None:
    # The cheats that pass nearly always: one that was another picture would be an error of ours.
    assert hamming(made[name].hashes[0], cheat.honest(task).hashes[0]) < 24


@pytest.mark.parametrize("scheduler", NOISE_SCHEDULERS)
def test_honest_work_costs_1(scheduler: str, cheat: Machine, task: ImageTask) -> None:
    for guidance in (1.0, 7.5):
        asked = task.replace(scheduler=scheduler, steps=2, guidance_scale=guidance, images=2, width=64, height=64)
        assert cheat.run(asked).cost == 1.0


def test_predictions_are_reused_in_each_image_from_its_first(cheat: Machine, task: ImageTask) -> None:
    asked = task.replace(steps=3, images=2, width=64, height=64)
    made = cheat.run(asked, machine.every_second_reused)
    assert made.cost == pytest.approx(2 / 3)
    (first,) = cheat.run(asked.replace(images=1), machine.every_second_reused).pixels
    assert (made.pixels[0] == first).all()


@pytest.mark.parametrize(
    ("name", "changes", "problem"),
    [
        ("half-the-steps", {"steps": 1}, "1 steps; at least 2"),
        ("quarter-of-the-steps", {"steps": 3}, "3 steps; at least 4"),
        ("no-guidance", {"guidance_scale": 1.0}, "guidance_scale is 1.0"),
        ("guidance-5", {"guidance_scale": 5.0}, "guidance_scale is 5.0"),
        ("lower-resolution", {"width": 120}, "half of 120x128"),
        ("enlarged-from-128", {}, "128x128, not larger"),
        ("enlarged-from-64", {"height": 64}, "128x64, not larger"),
        ("bfloat16", {"dtype": "bfloat16"}, "dtype is bfloat16"),
    ],
)
def test_an_attack_that_means_nothing_says_so_and_runs_nothing(
    name: str, changes: Mapping[str, Any], problem: str, task: ImageTask
) -> None:
    with Machine(device="no such device") as unable, pytest.raises(DoesNotFit, match=problem):
        ATTACKS[name](task.replace(**changes), unable)


@pytest.mark.parametrize("name", ["from-the-hash", "by-gradient", "by-hill-climbing"])
def test_what_is_made_to_fit_fits(name: str, made: Made, cheat: Machine, task: ImageTask) -> None:
    apart = hamming(made[name].hashes[0], cheat.honest(task).hashes[0])
    assert apart < fitted.GOAL
    assert apart == 0 or name != "from-the-hash"


@pytest.mark.parametrize("algorithm", IMAGE_ALGORITHMS)
@pytest.mark.parametrize(("width", "height"), [(512, 512), (128, 64), (64, 520)])
def test_a_hash_is_enough_for_a_picture_that_has_it(algorithm: ImageAlgorithm, width: int, height: int) -> None:
    generator = np.random.default_rng(5)
    for _ in range(5):
        coarse = generator.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        wanted = image_hash(less_work.enlarged(coarse, width, height), algorithm)
        found = image_hash(fitted.made_from(wanted.bits, width, height), algorithm)
        assert hamming(found, wanted) == 0


def test_a_nearer_goal_moves_a_picture_farther() -> None:
    generator = np.random.default_rng(6)
    picture, other = (
        less_work.enlarged(generator.integers(0, 256, (8, 8, 3), dtype=np.uint8), 128, 128) for _ in range(2)
    )
    wanted = image_hash(other).bits
    assert hamming(image_hash(picture).bits, wanted) >= 24
    moved = {goal: fitted.moved(picture, wanted, "phash/1", goal) for goal in (8, 24)}
    assert all(hamming(image_hash(found).bits, wanted) < goal for goal, found in moved.items())
    by = {goal: np.abs(found.astype(int) - picture).mean() for goal, found in moved.items()}
    assert by[24] < by[8] / 2
    assert fitted.moved(moved[8], wanted, "phash/1", 8) is moved[8]


def test_a_fragile_task_is_the_one_whose_precisions_are_farthest_apart(
    cheat: Machine, task: ImageTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bad_faith, "TRIES", 3)
    monkeypatch.setattr(bad_faith, "STEPS", 5)
    asked = task.replace(dtype="bfloat16", width=64, height=64)
    answer = BAD_FAITH["fragile-task"](asked, cheat)
    assert answer.cost == pytest.approx(2 * bad_faith.TRIES * bad_faith.STEPS / asked.steps)
    apart = {}
    for number in range(bad_faith.TRIES):
        tried = answer.task.replace(seed=asked.seed * bad_faith.TRIES + number)
        own, other = (cheat.honest(tried.replace(dtype=dtype)).score for dtype in ("float32", "bfloat16"))
        apart[tried] = similarity_score(own, other) or 0
    assert apart[answer.task] == max(apart.values())
    assert (answer.pixels[0] == np.asarray(cheat.honest(answer.task).images[0])).all()


@pytest.mark.parametrize(
    "name", ["half-the-steps", "reused-predictions", "guidance-7", "int8-weights", "other-seed", "without-colour"]
)
def test_a_cheat_binds_its_run_as_if_it_were_the_one_that_was_asked_for(
    name: str, cheat: Machine, task: ImageTask
) -> None:
    asked = task.replace(binding="trace", width=64, height=64)
    answer = ATTACKS[name](asked, cheat)
    assert answer.trace is not None
    proof = answer.trace.prove(0, [*range(asked.steps)])
    proof.check(answer.score)
    honest = cheat.honest(asked)
    assert honest.trace is not None
    assert (proof.array(Content.PIXELS, asked.steps) == answer.pixels[0]).all()
    right = honest.trace.prove(0, [*range(asked.steps)])
    begins = [found.array(Content.LATENT, 0).tobytes() for found in (proof, right)]
    assert (begins[0] == begins[1]) == (name != "other-seed")
    assert answer.trace.root != honest.trace.root


def test_a_run_of_half_the_steps_is_stretched(cheat: Machine, task: ImageTask) -> None:
    asked = task.replace(binding="trace", width=64, height=64)
    answer = ATTACKS["half-the-steps"](asked, cheat)
    assert answer.trace is not None
    assert answer.result is not None
    assert answer.result.trace is not None
    claimed, done = answer.trace.prove(0, [0, 1, 2, 3]), answer.result.trace.prove(0, [0, 1])
    latents, real = ([proof.array(Content.LATENT, at) for at in range(n)] for proof, n in ((claimed, 5), (done, 3)))
    assert all((latents[2 * at] == real[at]).all() for at in range(3))
    assert np.allclose(latents[1], (real[0] + real[1]) / 2, atol=1e-6)
    assert (claimed.array(Content.PREDICTION, 3) == done.array(Content.PREDICTION, 1)).all()


def test_what_has_no_run_or_another_size_has_no_trace(cheat: Machine, task: ImageTask) -> None:
    asked = task.replace(binding="trace", steps=1)
    assert ATTACKS["noise"](asked, cheat).trace is None
    with pytest.raises(DoesNotFit, match="64x64 cannot be bound"):
        _ = ATTACKS["lower-resolution"](asked, cheat).trace


def test_hill_climbing_stops_where_it_has_asked_enough() -> None:
    picture = np.full((64, 64, 3), 90, np.uint8)
    _, asked = fitted.climbed(picture, bytes(range(8)), "phash/1", goal=1, queries=20)
    assert asked == 20


@pytest.mark.parametrize(("bits", "most"), [(8, 255), (4, 15)])
def test_rounded_weights_are_few_and_put_back(bits: int, most: int) -> None:
    import torch

    linear, convolution = torch.nn.Linear(400, 3), torch.nn.Conv2d(4, 5, 3)
    layers = torch.nn.Sequential(linear, convolution, torch.nn.LayerNorm(4))
    before = [parameter.clone() for parameter in layers.parameters()]
    with rounding.rounded_weights(bits)(layers):
        assert len(np.unique(linear.weight[0].numpy(force=True))) <= most
        kept = list(map(torch.equal, layers.parameters(), before))
        assert kept == [False, True, False, True, True, True]  # weights and biases; a norm keeps both
    assert all(map(torch.equal, layers.parameters(), before))


def test_a_change_is_taken_back_where_a_run_fails(cheat: Machine, task: ImageTask) -> None:
    @contextmanager
    def failing(unet: Any) -> Iterator[None]:
        with machine.every_second_reused(unet), rounding.rounded_weights(4)(unet):
            unet.forward = None  # cannot be called
            yield

    before = cheat.run(task).pixels[0]
    with pytest.raises(PipelineError, match="could not be drawn"):
        cheat.run(task, failing)
    assert (cheat.run(task).pixels[0] == before).all()


def test_other_prompts_are_other_ones_and_follow_from_the_task(task: ImageTask) -> None:
    texts = scenes.prompts(300)
    assert len(set(texts)) == 300
    assert scenes.prompts(7) == texts[:7]
    found = [scenes.another_scene(task.replace(prompt=text)) for text in texts]
    assert all(other != text for other, text in zip(found, texts, strict=True))
    assert found == [scenes.another_scene(task.replace(prompt=text)) for text in texts]
    assert len(set(found)) > 200


@pytest.mark.parametrize("count", [1, 3_001])
def test_a_number_of_prompts_that_cannot_be_is_refused(count: int) -> None:
    with pytest.raises(ValueError, match=r"expected 2 to 3,000"):
        scenes.prompts(count)


def test_enlarging_keeps_the_size_and_loses_the_detail() -> None:
    ramp = np.linspace(0, 255, 128)
    picture = np.stack([np.add.outer(ramp, ramp) / 2] * 3, axis=2).astype(np.uint8)
    picture[40:44, 40:44] = 255
    small = less_work.reduced(picture, 8)
    assert small.shape == picture.shape
    assert int(picture[41, 41, 0]) - int(small[41, 41, 0]) > 60
    assert abs(int(small[90, 90, 0]) - int(picture[90, 90, 0])) < 10


def test_pictures_of_no_work(made: Made) -> None:
    assert made["plain-grey"].hashes[0].degenerate
    assert not made["noise"].hashes[0].degenerate
    assert (made["plain-grey"].pixels[0] == no_work.GREY).all()
