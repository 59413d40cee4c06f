"""Audits of images: honest steps pass on any machine, and each false claim is found where it was made."""

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import crynux_validate as cv
from crynux_validate.audits.bands import AuditBands, model_of, shipped_bands
from crynux_validate.audits.findings import AuditFinding
from crynux_validate.audits.image import SAME, Along, Direction, Errors, judge_step, judge_together
from crynux_validate.audits.image_bands import PREDICTION, SIGNED, Band, MeanSpread, Spread
from crynux_validate.audits.layout import Content, Leaf, leaves_of, step_count
from crynux_validate.audits.steps import audit_steps
from crynux_validate.audits.trace import Trace
from crynux_validate.errors import InvalidInputError, ModelError
from crynux_validate.hashing import image_hash
from crynux_validate.pipelines.images.drawing import tensor_bytes
from crynux_validate.pipelines.images.scheduling import make_scheduler
from crynux_validate.pipelines.models.loading import DTYPES
from crynux_validate.pipelines.runner import Runner
from crynux_validate.tasks import ImageTask, ModelRef
from tests.pipelines import jobs

EVERY: Any = {"seed": b"a seed", "count": 1_000}
SETTINGS: list[tuple[str, dict[str, Any]]] = [
    ("DDIMScheduler", {}),
    ("EulerDiscreteScheduler", {}),
    ("EulerAncestralDiscreteScheduler", {}),
    ("LCMScheduler", {}),
    ("PNDMScheduler", {}),
    ("PNDMScheduler", {"skip_prk_steps": False}),
    ("DPMSolverMultistepScheduler", {}),
    ("DPMSolverMultistepScheduler", {"solver_order": 3, "algorithm_type": "sde-dpmsolver++"}),
    ("UniPCMultistepScheduler", {}),
    ("UniPCMultistepScheduler", {"solver_order": 3}),
]


@pytest.fixture(scope="module")
def traced(task: ImageTask) -> ImageTask:
    return task.replace(binding="trace", steps=6)


@pytest.fixture(scope="module")
def drawn(runner: Any, traced: ImageTask) -> Any:
    return runner.run(traced)


def made(limits: dict[str, float]) -> Band:
    """A band of which every limit is given: around 0, the same for several steps."""
    spreads = {name: Spread(0.0, limit, 0.0, 1.0) for name, limit in limits.items()}
    return Band(spreads, {name: MeanSpread(0.0, math.inf, ((2, limits[name]),)) for name in PREDICTION})


@pytest.fixture
def band(monkeypatch: pytest.MonkeyPatch) -> None:
    """A band for every dtype and scheduler."""
    found = made(dict.fromkeys(PREDICTION, 1e-4) | {"latent": 1e-5, "picture": 2.0, "peak": 3.0})
    monkeypatch.setattr(AuditBands, "for_image", lambda *_: found)


def whole(result: Any, image: int = 0) -> Any:
    return result.trace.prove(image, range(step_count(result.task)))


def unchanged(_: Leaf, values: Any) -> Any:
    return values


def rebound(result: Any, change: Callable[[Leaf, Any], Any], task: ImageTask | None = None) -> tuple[Any, Any]:
    """The answer and the proof of a node that changed some leaves before it bound them."""
    proof, asked = whole(result), task or result.task
    trace = Trace(asked, proof.latent)
    for leaf in leaves_of(asked):
        values = np.ascontiguousarray(change(leaf, proof.array(leaf.content, leaf.step)))
        dtype = DTYPES[asked.dtype]
        pixels = leaf.content is Content.PIXELS
        trace.append(values.tobytes() if pixels else tensor_bytes(torch.from_numpy(values).to(dtype), dtype))
    score = cv.ImageScore(result.score.hashes, trace.root)
    return score, trace.prove(0, range(step_count(asked)))


@pytest.mark.parametrize(("name", "arguments"), SETTINGS)
def test_every_step_of_every_scheduler_matches_on_one_machine(
    runner: Any, traced: ImageTask, name: str, arguments: dict[str, Any]
) -> None:
    task = traced.replace(scheduler=name, scheduler_args=arguments, images=2)
    result: Any = runner.run(task)
    assert result.trace.root == result.score.result_digest
    plain = runner.run(task.replace(binding="pixels"))
    assert [image.tobytes() for image in result.images] == [image.tobytes() for image in plain.images]
    found = runner.audit(task, result.score, whole(result, 1), **EVERY)
    assert found.finding is AuditFinding.MATCH, str(found)
    assert [step.step for step in found.steps] == list(range(step_count(task)))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_equal_bits_match_in_every_dtype(model: ModelRef, traced: ImageTask, dtype: str) -> None:
    task = traced.replace(dtype=dtype, steps=2, scheduler="UniPCMultistepScheduler")
    with Runner.for_task(task, "cpu") as runner:
        result: Any = runner.run(task)
        found = runner.audit(task, result.score, whole(result), **EVERY)
        assert found.finding is AuditFinding.MATCH, str(found)
        again: Any = runner.run(task)
        assert again.trace.root == result.trace.root


def test_drawn_steps_are_audited_and_no_others(runner: Any, traced: ImageTask, drawn: Any) -> None:
    steps = audit_steps(b"later", traced, drawn.score, 2)[0]
    found = runner.audit(traced, drawn.score, drawn.trace.prove(0, steps, pixels=False), seed=b"later", count=2)
    assert tuple(step.step for step in found.steps) == steps
    assert {step.finding for step in found.steps} == {AuditFinding.MATCH}
    assert found.picture.finding is AuditFinding.INCOMPARABLE
    assert found.finding is AuditFinding.INCOMPARABLE, "a node would not show a false picture"
    assert found.to_dict()["steps"][0]["finding"] == "MATCH"


def test_how_far_an_audit_is(runner: Any, traced: ImageTask, drawn: Any) -> None:
    told: list[tuple[int, int]] = []
    runner.audit(traced, drawn.score, whole(drawn), **EVERY, on_progress=lambda *far: told.append(far))
    assert told == [(step + 1, 6) for step in range(6)]
    with pytest.raises(InvalidInputError, match="on_progress is 3"):
        runner.audit(traced, drawn.score, whole(drawn), **EVERY, on_progress=3)


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_a_second_evaluation_is_told_once_it_is_needed(traced: ImageTask, dtype: str) -> None:
    task = traced.replace(dtype=dtype, steps=2)
    with Runner.for_task(task, "cpu") as runner:
        answer, proof = rebound(
            runner.run(task), lambda leaf, values: values * (2 if leaf.content is Content.PREDICTION else 1)
        )
        told: list[tuple[int, int]] = []
        runner.audit(task, answer, proof, **EVERY, on_progress=lambda *far: told.append(far))
    again = [(3, 4), (4, 4)] if dtype == "bfloat16" else []
    assert told == [(1, 2), (2, 2), *again]


def test_an_honest_machine_of_another_kind_is_no_cheat(runner: Any, traced: ImageTask, machines: Any) -> None:
    answer, proof = machines["oldest"].run(jobs.draw_traced, traced.model.path, traced.to_json())
    found = runner.audit(traced, answer, proof, **EVERY)
    assert found.finding in (AuditFinding.NOISE, AuditFinding.MATCH), str(found)
    assert not found.calibrated
    known = runner.audit(traced, answer, proof, **EVERY, kinds=("oldest", "native"))
    assert known.uncalibrated == "no band was made from this model", "of this test, with random weights"
    assert known.finding in (AuditFinding.NOISE, AuditFinding.MATCH), str(known)


@pytest.fixture(scope="module")
def half(model: ModelRef) -> Iterator[Any]:
    """The tiny model in bfloat16."""
    with Runner(model, dtype="bfloat16", device="cpu") as loaded:
        yield loaded


def test_in_bfloat16_an_honest_machine_of_another_kind_is_no_cheat(half: Any, traced: ImageTask, machines: Any) -> None:
    task = traced.replace(dtype="bfloat16")
    answer, proof = machines["oldest"].run(jobs.draw_traced, task.model.path, task.to_json())
    found = half.audit(task, answer, proof, **EVERY)
    assert found.finding is AuditFinding.NOISE, str(found)
    assert found.together is not None
    other = [step.errors for step in found.steps if not step.errors.equal]
    assert all(0.5 < errors.prediction < 2 for errors in other), "an honest node rounds as much as the auditor"


def test_in_bfloat16_another_guidance_scale_is_found_from_a_float32_reference(half: Any, traced: ImageTask) -> None:
    task = traced.replace(dtype="bfloat16")
    result = half.run(task.replace(guidance_scale=6.0))
    shown = rebound(result, unchanged, task)
    assert half.audit(task, *shown, **EVERY).finding is AuditFinding.INCOMPARABLE, "by a band of another model"
    measured = replace(shipped_bands().images["bfloat16"], models=(model_of(task),))
    bands = replace(shipped_bands(), images={"bfloat16": measured}, versions={})
    found = half.audit(task, *shown, **EVERY, bands=bands, kinds=("aten-default", "native"))
    assert found.finding is AuditFinding.CHEAT, str(found)
    assert found.together.finding is AuditFinding.CHEAT
    assert np.mean([step.errors.guidance.times for step in found.steps]) == pytest.approx(-1.5, abs=0.3)
    assert half._in_float32().pipeline.unet.dtype == torch.float32
    assert half._loaded.pipeline.unet.dtype == torch.bfloat16, "the model itself is as it was"


@pytest.mark.usefixtures("band")
def test_a_second_hypothesis_names_the_model_that_was_used(
    runner: Any, half: Any, model: ModelRef, traced: ImageTask
) -> None:
    with Runner(model, device="cpu") as other, torch.no_grad():
        loaded: Any = other._loaded
        for weight in loaded.pipeline.unet.parameters():
            weight.copy_(weight.bfloat16())
        result = other.run(traced)
        found = runner.audit(traced, *rebound(result, unchanged), **EVERY, against=other)
        assert {step.direction for step in found.steps} == {Direction.AGAINST}, str(found)
        assert {round(step.errors.against.times, 2) for step in found.steps} == {1.0}
    with pytest.raises(InvalidInputError, match="loaded bfloat16"):
        runner.audit(traced, *rebound(result, unchanged), **EVERY, against=half)
    with pytest.raises(InvalidInputError, match="a Runner of the other model"):
        runner.audit(traced, *rebound(result, unchanged), **EVERY, against=model)


@pytest.mark.usefixtures("band")
@pytest.mark.parametrize(
    ("changed", "direction"),
    [
        (Leaf(0, Content.PREDICTION, 3), Direction.OTHER),
        (Leaf(0, Content.LATENT, 4), Direction.SCHEDULER),
    ],
)
def test_a_changed_leaf_is_found_in_the_step_that_made_it(
    runner: Any, drawn: Any, changed: Leaf, direction: Direction
) -> None:
    numbers = np.random.default_rng(5)

    def change(leaf: Leaf, values: Any) -> Any:
        return values + 1e-3 * numbers.standard_normal(values.shape, np.float32) if leaf == changed else values

    found = runner.audit(drawn.task, *rebound(drawn, change), **EVERY)
    assert found.finding is AuditFinding.CHEAT
    assert found.steps[3].finding is AuditFinding.CHEAT
    assert found.steps[3].direction is direction
    # What follows from a changed leaf is false as well, what does not is right.
    assert all(found.steps[at].finding is AuditFinding.MATCH for at in (0, 1, 2, 5))


@pytest.mark.usefixtures("band")
def test_a_changed_correction_of_unipc_is_found(runner: Any, traced: ImageTask) -> None:
    result = runner.run(traced.replace(scheduler="UniPCMultistepScheduler"))
    changed = Leaf(0, Content.CORRECTED, 2)
    answer, proof = rebound(result, lambda leaf, values: values * np.float32(1.001) if leaf == changed else values)
    found = runner.audit(result.task, answer, proof, **EVERY)
    assert found.steps[2].direction is Direction.SCHEDULER, str(found)


@pytest.mark.usefixtures("band")
def test_another_guidance_scale_is_named(runner: Any, traced: ImageTask) -> None:
    result = runner.run(traced.replace(guidance_scale=7.0))
    found = runner.audit(traced, *rebound(result, unchanged, traced), **EVERY)
    assert {step.direction for step in found.steps} == {Direction.GUIDANCE}
    for step in found.steps:
        assert step.errors.guidance.times == pytest.approx(-0.5, abs=0.01)
    assert found.first.finding is AuditFinding.MATCH
    assert found.picture.finding is AuditFinding.MATCH


@pytest.mark.usefixtures("band")
def test_a_reused_prediction_is_named(runner: Any, drawn: Any) -> None:
    proof = whole(drawn)

    def change(leaf: Leaf, values: Any) -> Any:
        return proof.array(Content.PREDICTION, 2) if leaf == Leaf(0, Content.PREDICTION, 3) else values

    found = runner.audit(drawn.task, *rebound(drawn, change), **EVERY)
    assert found.steps[3].direction is Direction.REUSE
    assert "step before" in str(found)


@pytest.mark.usefixtures("band")
def test_the_trace_of_another_seed_is_found_whatever_is_drawn(runner: Any, traced: ImageTask) -> None:
    other = runner.run(traced.replace(seed=99))
    found = runner.audit(traced, *rebound(other, unchanged, traced), **EVERY)
    assert all(step.finding is AuditFinding.MATCH for step in found.steps), "the steps themselves are right"
    assert (found.first.finding, found.finding) == (AuditFinding.CHEAT, AuditFinding.CHEAT)


@pytest.mark.usefixtures("band")
def test_another_picture_is_found(runner: Any, drawn: Any) -> None:
    def moved(leaf: Leaf, values: Any) -> Any:
        return np.roll(values, 1, axis=0) if leaf.content is Content.PIXELS else values

    def spotted(leaf: Leaf, values: Any) -> Any:
        if leaf.content is Content.PIXELS:
            values = values.copy()
            values[0, 0, 0] ^= 64  # the root mean square hardly sees it
        return values

    for change in (moved, spotted):
        found = runner.audit(drawn.task, *rebound(drawn, change), **EVERY)
        assert (found.picture.finding, found.finding) == (AuditFinding.CHEAT, AuditFinding.CHEAT), str(found)
    score = cv.ImageScore(bytes(8), drawn.score.result_digest)
    found = runner.audit(drawn.task, score, whole(drawn), **EVERY)
    assert "the answer says another" in found.picture.reason


def claimed(runner: Any, task: ImageTask, change: Callable[[int, Any], Any]) -> tuple[Any, Any]:
    """Random predictions, and a trace of what the scheduler makes of them, where `change` has its way."""
    scheduler = make_scheduler(runner._loaded.scheduler_settings, task)
    scheduler.set_timesteps(task.steps)
    numbers = torch.Generator().manual_seed(3)
    latent, trace = torch.randn((1, 4, 8, 8), generator=numbers), Trace(task, (4, 8, 8))
    for step, time in enumerate(scheduler.timesteps):
        prediction = torch.randn(latent.shape, generator=numbers)
        trace.append(latent.numpy().tobytes())
        trace.append(prediction.numpy().tobytes())
        latent = change(step + 1, scheduler.step(prediction, time, latent, return_dict=False)[0])
    trace.append(latent.numpy().tobytes())
    trace.append(bytes(64 * 64 * 3))
    return cv.ImageScore(image_hash(Image.new("RGB", (64, 64)), task.algorithm).bits, trace.root), trace


def test_a_short_step_may_be_rounded(runner: Any, traced: ImageTask) -> None:
    """With many steps each of them moves the latent by little more than the rounding of its values."""
    task = traced.replace(steps=499)
    rounding = np.random.default_rng(1)

    def rounded(_: int, latent: torch.Tensor) -> torch.Tensor:
        return latent * (1 + 2.0**-23 * torch.from_numpy(rounding.integers(-1, 2, latent.shape)).float())

    answer, trace = claimed(runner, task, rounded)
    drawn_steps = audit_steps(b"later", task, answer, 20)[0]
    found = runner.audit(task, answer, trace.prove(0, drawn_steps), seed=b"later", count=20)
    allowed = shipped_bands().for_image(task)
    assert allowed is not None
    assert all(step.errors.latent > 0 for step in found.steps)
    assert all(allowed.times("latent", step.errors.latent) < 0.5 for step in found.steps), str(found)


def test_latents_of_which_nothing_can_be_computed_are_a_cheat(runner: Any, traced: ImageTask) -> None:
    """Numbers, but so large that the model and the decoder overflow: no error of the auditor's."""

    def huge(_: int, latent: torch.Tensor) -> torch.Tensor:
        return torch.full_like(latent, 3e38)

    answer, trace = claimed(runner, traced, huge)
    found = runner.audit(traced, answer, trace.prove(0, range(6)), **EVERY)
    assert {step.finding for step in found.steps} == {AuditFinding.CHEAT}, str(found)
    assert found.picture.finding is AuditFinding.CHEAT, str(found)
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["finding"] == "CHEAT"


def test_a_direction_that_is_short_says_nothing(runner: Any, traced: ImageTask) -> None:
    """Of equal prompts guidance is rounding alone, which no honest machine shares with the auditor."""
    numbers = np.random.default_rng(4)
    task = traced.replace(prompt="a red cat", negative_prompt="a red cat")
    result = runner.run(task)

    def noisy(leaf: Leaf, values: Any) -> Any:
        if leaf.content is not Content.PREDICTION:
            return values
        return values * (1 + 1e-6 * numbers.standard_normal(values.shape, np.float32))

    found = runner.audit(task, *rebound(result, noisy), **EVERY)
    assert {step.errors.guidance for step in found.steps} == {None}, str(found)


@pytest.mark.usefixtures("band")
@pytest.mark.parametrize("name", ["DDIMScheduler", "EulerAncestralDiscreteScheduler"])
def test_a_copied_trace_shows_in_one_step_or_by_its_noise_in_all(runner: Any, traced: ImageTask, name: str) -> None:
    """The first latent of this seed, and all else from an older answer to the same prompt."""
    task = traced.replace(scheduler=name)
    old = runner.run(task.replace(seed=99))
    own = whole(runner.run(task)).array(Content.LATENT, 0)
    first = Leaf(0, Content.LATENT, 0)
    found = runner.audit(task, *rebound(old, lambda leaf, values: own if leaf == first else values, task), **EVERY)
    false = [step.step for step in found.steps if step.finding is AuditFinding.CHEAT]
    # The last step of Euler ancestral adds no noise.
    assert false == ([0] if name == "DDIMScheduler" else [0, 1, 2, 3, 4])
    assert found.first.finding is AuditFinding.MATCH
    assert found.picture.finding is AuditFinding.MATCH


HONEST = Errors(equal=False, length=0.0, prediction=0.0, smooth=0.0, latent=0.0)
NARROW = made({"prediction": 0.1, "smooth": 0.06, "latent": 0.01, "guidance": 0.05, "reuse": 0.02, "against": 0.03})


@pytest.mark.parametrize(
    ("errors", "finding", "direction"),
    [
        ({}, AuditFinding.NOISE, None),
        ({"prediction": 0.1, "latent": 0.01, "guidance": Along(-0.05, -1)}, AuditFinding.NOISE, None),
        ({"prediction": 0.11}, AuditFinding.CHEAT, Direction.OTHER),
        ({"smooth": 0.061}, AuditFinding.CHEAT, Direction.OTHER),
        ({"latent": 0.011}, AuditFinding.CHEAT, Direction.SCHEDULER),
        ({"prediction": 0.06, "guidance": Along(-0.06, -1)}, AuditFinding.CHEAT, Direction.GUIDANCE),
        ({"prediction": 0.06, "against": Along(0.06, 1)}, AuditFinding.CHEAT, Direction.AGAINST),
        (
            {"prediction": 9.0, "guidance": Along(0.06, 1), "reuse": Along(8.9999, 1)},
            AuditFinding.CHEAT,
            Direction.REUSE,
        ),
        ({"prediction": 9.0, "guidance": Along(9.0, 1)}, AuditFinding.CHEAT, Direction.GUIDANCE),
        # Nearly all of it is along guidance, and what is left is no noise.
        ({"prediction": 9.0, "guidance": Along(8.99, 1)}, AuditFinding.CHEAT, Direction.OTHER),
        ({"equal": True}, AuditFinding.MATCH, None),
        ({"prediction": math.nan}, AuditFinding.CHEAT, Direction.OTHER),
        ({"prediction": math.inf, "guidance": Along(math.inf, 1)}, AuditFinding.CHEAT, Direction.OTHER),
        ({"latent": math.nan}, AuditFinding.CHEAT, Direction.SCHEDULER),
    ],
)
def test_a_step_is_judged_by_its_errors(
    errors: dict[str, Any], finding: AuditFinding, direction: Direction | None
) -> None:
    found = judge_step(1, replace(HONEST, **errors), NARROW)
    assert (found.finding, found.direction) == (finding, direction), found.reason


def test_a_small_error_that_all_steps_share_is_found_in_their_mean() -> None:
    spread = Spread(centre=1.0, between=0.01, within=0.1, reach=6.0)
    mean = MeanSpread(centre=1.0, cut=0.5, limits=((2, 0.5), (5, 0.27)))
    wide = Band(dict.fromkeys((*PREDICTION, "latent"), spread), dict.fromkeys(PREDICTION, mean))
    steps = [replace(HONEST, prediction=1.4, smooth=1.0)] * 5
    assert {judge_step(0, errors, wide).finding for errors in steps} == {AuditFinding.NOISE}
    found = judge_together(steps, wide)
    assert found is not None
    assert (found.finding, found.steps) == (AuditFinding.CHEAT, 5)
    signs = [replace(HONEST, prediction=1.0, smooth=1.0, guidance=Along(1 + 0.4 * sign, sign)) for sign in (-1, 1) * 3]
    honest = judge_together(signs, wide)
    assert honest is not None
    assert honest.finding is AuditFinding.NOISE, "guidance that is off this way and that has no mean"
    aside = judge_together([replace(one, guidance=Along(1.4, 1)) for one in signs], wide)
    assert aside is not None
    assert aside.direction is Direction.GUIDANCE
    few = judge_together([replace(one, guidance=None) for one in signs[:5]] + [replace(steps[0], prediction=1.0)], wide)
    assert few is not None
    assert few.finding is AuditFinding.NOISE, "of guidance there is one step alone, and no mean"
    # Steps with equal bits say nothing of the others, and one step alone was judged already.
    assert judge_together([SAME, SAME, steps[0]], wide) is None
    assert judge_together(steps, None) is None


def test_a_number_of_steps_that_was_not_measured_has_the_limit_of_the_next_smaller_one() -> None:
    mean = MeanSpread(0.0, 0.8, ((2, 0.8), (5, 0.5), (10, 0.4)))
    assert [mean.limit(steps) for steps in (2, 4, 5, 9, 10, 50)] == [0.8, 0.8, 0.5, 0.5, 0.4, 0.4]
    assert mean.times(0.25, 5) == 0.5
    assert mean.times(-1.0, 5) == 0.0
    assert mean.times(-1.0, 5, signed=True) == 2.0


def test_one_step_that_is_far_off_counts_for_less_in_a_mean() -> None:
    wide, mean = Spread(0.0, 1.0, 0.0, 3.0), MeanSpread(0.0, 0.8, ((2, 0.8), (5, 0.5)))
    band = Band(dict.fromkeys((*PREDICTION, "latent"), wide), dict.fromkeys(PREDICTION, mean))
    quiet = replace(HONEST, prediction=0.0, smooth=0.0)
    one = judge_together([replace(quiet, prediction=2.9), *[quiet] * 4], band)
    every = judge_together([replace(quiet, prediction=0.6)] * 5, band)
    assert one is not None
    assert every is not None
    assert (one.finding, every.finding) == (AuditFinding.NOISE, AuditFinding.CHEAT)
    assert one.times == pytest.approx(0.8 / 5 / mean.limit(5))
    alone = replace(quiet, prediction=math.inf)
    assert judge_step(0, alone, band).finding is AuditFinding.CHEAT, "what is cut is judged alone"


def test_without_a_band_other_bits_say_nothing() -> None:
    assert judge_step(1, HONEST, None).finding is AuditFinding.INCOMPARABLE


def test_what_cannot_be_audited_is_said_before_the_model_is_loaded(
    traced: ImageTask, drawn: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Runner, "for_task", lambda *_: pytest.fail("the model was loaded"))
    proof, score, every = whole(drawn), drawn.score, dict(EVERY)
    other = cv.ImageScore(score.hashes, bytes(32))
    cases: list[tuple[tuple[Any, ...], dict[str, Any], str]] = [
        ((traced.replace(seed=8), score, proof), every, "is of the task"),
        ((traced.replace(binding="pixels"), score, proof), every, "has no trace"),
        ((traced, other, proof), every, "is for another answer"),
        ((traced, score, proof), {"seed": b"a seed", "count": 2}, "the seed draws"),
        ((traced, score, proof.to_bytes()), every, "expected a TraceProof"),
        ((traced, score, proof), {"seed": "text", "count": 2}, "expected 1 to 256 bytes"),
        (("task", score, proof), every, "expected an ImageTask or a TextTask"),
        ((traced, "answer", proof), every, "expected an ImageScore"),
        ((traced, score, proof), {**every, "kinds": ("native",)}, "expected the names of two kinds"),
        ((traced, score, proof), {**every, "kinds": "native"}, "expected the names of two kinds"),
        ((traced, score, proof), {**every, "against": "int8"}, "expected an ImageTask, or None"),
        ((traced, score, proof), {**every, "against": traced.replace(steps=7)}, "in more than its model"),
    ]
    for arguments, settings, said in cases:
        with pytest.raises(InvalidInputError, match=said):
            cv.audit(*arguments, **settings)


def test_latents_of_another_model_are_refused(runner: Any, traced: ImageTask) -> None:
    trace = Trace(traced, (4, 4, 4))
    for leaf in leaves_of(traced):
        trace.append(bytes(64 * 64 * 3 if leaf.content is Content.PIXELS else 4 * 4 * 4 * 4))
    score = cv.ImageScore(bytes(8), trace.root)
    proof = trace.prove(0, range(6))
    with pytest.raises(InvalidInputError, match="those of the model have"):
        runner.audit(traced, score, proof, **EVERY)


def test_another_model_is_refused(runner: Any, traced: ImageTask, drawn: Any) -> None:
    task = traced.replace(model=ModelRef("owner/other", revision="0" * 40))
    score, proof = rebound(drawn, unchanged, task)
    with pytest.raises(InvalidInputError, match="the task asks for model"):
        runner.audit(task, score, proof, **EVERY)
    with pytest.raises(ModelError):
        cv.audit(task, score, proof, **EVERY)


def measured(task: ImageTask) -> ImageTask:
    """The task with the model that the shipped bands were made from."""
    (model,) = shipped_bands().images["float32"].models
    return task.replace(model=ModelRef(digest=model), scheduler="DDIMScheduler")


def test_the_file_of_bands_names_what_it_was_made_with(traced: ImageTask) -> None:
    found = shipped_bands()
    assert {"torch", "diffusers", "transformers"} <= set(found.versions)
    assert found.made_from
    for scheduler in ("DDIMScheduler", "UniPCMultistepScheduler", "PNDMScheduler"):
        asked = measured(traced).replace(scheduler=scheduler)
        unknown = found.for_image(asked)
        own = found.for_image(asked, ("oldest", "native"))
        assert unknown is not None
        assert own is not None
        assert "no kinds were named" in unknown.uncalibrated
        assert bool(own.uncalibrated) == (scheduler != "DDIMScheduler"), "the others have few pictures of their own"
        assert found.for_image(asked, ("native", "oldest")) == own
        assert own.spreads == unknown.spreads
        assert 5e-5 < own.most("prediction") < 1e-3, "between honest machines and cheats"
        other = found.for_image(asked, ("native", "no such kind"))
        assert other is not None
        assert "no such kind" in other.uncalibrated


def test_a_band_says_for_which_versions_and_models_it_was_made(traced: ImageTask) -> None:
    found, kinds = shipped_bands(), ("oldest", "native")
    asked = measured(traced)
    old = replace(found, versions={**found.versions, "torch": "1.13.1"}).for_image(asked, kinds)
    assert old is not None
    assert old.uncalibrated.startswith("the band was made with torch 1.13.1, not ")
    other = found.for_image(asked.replace(model=ModelRef("a/b", revision="0" * 40)), kinds)
    assert other is not None
    assert other.uncalibrated == "no band was made from this model"
    assert AuditBands({}, {}, found.versions).for_image(asked, kinds) is None


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_in_sixteen_bits_the_unit_is_what_the_auditor_rounds_away_itself(dtype: Any, traced: ImageTask) -> None:
    found = shipped_bands().for_image(traced.replace(dtype=dtype))
    assert found is not None
    assert 0.8 < found.spreads["prediction"].centre < 1.3
    for name in SIGNED:
        assert abs(found.spreads[name].centre) < 0.05, "honest noise has no direction"
        assert found.means[name].limit(5) < found.spreads[name].limit()


def test_a_band_that_was_not_made_for_this_accuses_nobody_of_little() -> None:
    """Between its limit and twice that nothing is said; beyond that it is a cheat by any band."""
    spread = Spread(centre=0.0, between=1.0, within=0.0, reach=1.0)
    mean = MeanSpread(centre=0.0, cut=10.0, limits=((2, 1.0),))
    spreads, means = dict.fromkeys((*PREDICTION, "latent"), spread), dict.fromkeys(PREDICTION, mean)
    for off, own, other in (
        (0.9, AuditFinding.NOISE, AuditFinding.NOISE),
        (1.9, AuditFinding.CHEAT, AuditFinding.INCOMPARABLE),
        (2.1, AuditFinding.CHEAT, AuditFinding.CHEAT),
    ):
        errors = replace(HONEST, prediction=off, smooth=0.0, guidance=None, reuse=None, against=None, latent=0.0)
        for expected, band in ((own, Band(spreads, means)), (other, Band(spreads, means, 1.0, "other cards", 2.0))):
            together = judge_together([errors, errors], band)
            assert together is not None
            assert (judge_step(0, errors, band).finding, together.finding) == (expected, expected)
