"""Whatever a task may ask of a scheduler can be computed: every combination of arguments, in some numbers of steps."""

import contextlib
import itertools
import json
import random
from collections.abc import Iterator
from typing import Any

import pytest

torch = pytest.importorskip("torch")
diffusers = pytest.importorskip("diffusers")

from crynux_validate.errors import InvalidTaskError, ModelError, PipelineError  # noqa: E402
from crynux_validate.pipelines.guard.determinism import deterministic  # noqa: E402
from crynux_validate.pipelines.images.noising import Noise  # noqa: E402
from crynux_validate.pipelines.images.scheduling import check_settings, make_scheduler  # noqa: E402
from crynux_validate.schedulers import NOISE_SCHEDULERS, SCHEDULERS, check_scheduler  # noqa: E402
from crynux_validate.tasks import ImageTask, ModelRef  # noqa: E402

# diffusers' own, under numpy 2
pytestmark = pytest.mark.filterwarnings("ignore:__array_:DeprecationWarning")

STEPS = (1, 2, 5)
STABLE_DIFFUSION = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
}


def every_choice(name: str, most: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """Every combination of arguments, each with so many of the numbers of steps, at random."""
    choices = {key: list(values) for key, values in SCHEDULERS[name].arguments.items()}
    if name == "LCMScheduler":
        choices["original_inference_steps"] = [1, 7, 50, 500]
    chance = random.Random(name)
    for values in itertools.product(*choices.values()):
        for steps in chance.sample(STEPS, most):
            with contextlib.suppress(InvalidTaskError):
                yield steps, check_scheduler(name, dict(zip(choices, values, strict=True)), steps)


def denoise(name: str, arguments: dict[str, Any], steps: int) -> Any:
    """Run a scheduler on a small latent with a model that calls half of what it is given noise."""
    scheduler = getattr(diffusers, name).from_config(STABLE_DIFFUSION, **arguments)
    scheduler.set_timesteps(steps)
    sample = torch.linspace(-1, 1, 16).reshape(1, 4, 2, 2) * scheduler.init_noise_sigma
    for time in scheduler.timesteps:
        with Noise(7, 0):
            sample = scheduler.step(scheduler.scale_model_input(sample, time) / 2, time, sample).prev_sample
    return sample


@pytest.mark.parametrize("most", [1, pytest.param(len(STEPS), marks=pytest.mark.long)])
@pytest.mark.parametrize("name", NOISE_SCHEDULERS)
def test_every_choice_is_finite(name: str, most: int) -> None:
    tried = 0
    with deterministic():
        for steps, arguments in every_choice(name, most):
            assert torch.isfinite(denoise(name, arguments, steps)).all(), (steps, arguments)
            tried += 1
    assert tried >= 4 * most


def test_trailing_timesteps_that_run_past_zero_are_refused() -> None:
    import numpy as np

    for steps in range(1, 501):
        last = (np.round(np.arange(1000, 0, -1000 / steps)).astype(np.int64) - 1).min()
        if last < 0:
            with pytest.raises(InvalidTaskError, match="one more or less"):
                check_scheduler("DDIMScheduler", {"timestep_spacing": "trailing"}, steps)
        else:
            check_scheduler("DDIMScheduler", {"timestep_spacing": "trailing"}, steps)


TRAININGS: dict[str, dict[str, Any]] = {
    "scaled linear": STABLE_DIFFUSION,
    "linear": STABLE_DIFFUSION | {"beta_schedule": "linear", "beta_start": 0.0001, "beta_end": 0.02},
    "cosine": STABLE_DIFFUSION | {"beta_schedule": "squaredcos_cap_v2", "prediction_type": "v_prediction"},
    "zero SNR": STABLE_DIFFUSION | {"rescale_betas_zero_snr": True, "prediction_type": "v_prediction"},
}


MISFITS = {
    ("PNDMScheduler", "zero SNR"): "ignores the model's rescale_betas_zero_snr",
    ("EulerAncestralDiscreteScheduler", "cosine"): "float32 loses the ancestral noise",
}


def task_for(name: str, arguments: dict[str, Any], steps: int) -> ImageTask:
    model = ModelRef(digest="0" * 64)
    return ImageTask(model=model, prompt="", seed=0, steps=steps, scheduler=name, scheduler_args=arguments)


def draw_exactly(settings: dict[str, Any], task: ImageTask) -> Any:
    """Denoise with a model that always knows the picture, a constant 0.5; return what is drawn."""
    scheduler: Any = make_scheduler(settings, task)
    scheduler.set_timesteps(task.steps)
    signal = scheduler.alphas_cumprod.double().sqrt().numpy()
    angles = torch.from_numpy(signal).clamp(max=1).acos().numpy()
    sample = torch.linspace(-1, 1, 16).reshape(1, 4, 2, 2) * scheduler.init_noise_sigma
    for time in scheduler.timesteps:
        shown = scheduler.scale_model_input(sample, time).double()
        position = float(time)
        below = min(int(position), 998)
        angle = torch.tensor(angles[below] + (position - below) * (angles[below + 1] - angles[below]))
        noise = (shown - angle.cos() * 0.5) / angle.sin()
        velocity = angle.cos() * noise - angle.sin() * 0.5
        told = velocity if settings.get("prediction_type") == "v_prediction" else noise
        with Noise(7, 0):
            sample = scheduler.step(told.float(), time, sample).prev_sample
    return sample


@pytest.mark.parametrize("training", TRAININGS)
@pytest.mark.parametrize("name", NOISE_SCHEDULERS)
def test_a_model_that_knows_the_picture_draws_it(name: str, training: str) -> None:
    settings = check_settings(TRAININGS[training])
    if (name, training) in MISFITS:
        with pytest.raises(PipelineError, match=MISFITS[name, training]):
            make_scheduler(settings, task_for(name, {}, 4)).set_timesteps(4)
        return
    levels = [key for key in ("use_karras_sigmas", "use_exponential_sigmas") if key in SCHEDULERS[name].arguments]
    with deterministic():
        for arguments in ({}, *({key: True} for key in levels)):
            for steps in (4, 24, 40):
                drawn = draw_exactly(settings, task_for(name, dict(arguments), steps))
                assert torch.allclose(drawn, torch.tensor(0.5), atol=0.12), (arguments, steps)


def test_the_step_that_comes_first_is_the_first() -> None:
    """With cosine betas the first two of 30 Karras timesteps are equal; diffusers began with the second."""
    task = task_for("DPMSolverMultistepScheduler", {"use_karras_sigmas": True}, 30)
    scheduler: Any = make_scheduler(check_settings(TRAININGS["cosine"]), task)
    scheduler.set_timesteps(30)
    assert scheduler.timesteps[0] == scheduler.timesteps[1]
    scheduler.step(torch.zeros(1, 4, 2, 2), scheduler.timesteps[0], torch.ones(1, 4, 2, 2))
    assert scheduler.step_index == 1


WRONG_SETTINGS: list[tuple[dict[str, Any], str]] = [
    ({"num_train_timesteps": 500}, "num_train_timesteps is 500; supported is 1000"),
    ({"num_train_timesteps": True}, "num_train_timesteps is True"),
    ({"beta_start": "small"}, "beta_start is 'small'"),
    ({"beta_start": float("nan")}, "beta_start is nan"),
    ({"beta_start": 0.5}, "larger than beta_end"),
    ({"beta_end": 1.5}, "beta_end is 1.5"),
    ({"beta_schedule": "sigmoid"}, "beta_schedule is 'sigmoid'"),
    ({"trained_betas": [0.1] * 1000}, "trained_betas is"),
    ({"prediction_type": "sample"}, "prediction_type is 'sample'; supported is 'epsilon' or 'v_prediction'"),
    ({"prediction_type": "flow_prediction"}, "prediction_type is 'flow_prediction'"),
    ({"thresholding": True}, "thresholding is True"),
    ({"clip_sample_range": 4.0}, "clip_sample_range is 4.0"),
    ({"timestep_spacing": "random"}, "timestep_spacing is 'random'"),
    ({"steps_offset": 900}, "steps_offset is 900"),
    ({"steps_offset": 1.0}, "steps_offset is 1.0"),
    ({"sigma_max": 80.0}, "sigma_max is 80.0"),
    ({"timestep_type": "continuous"}, "timestep_type is 'continuous'"),
    ({"interpolation_type": "log_linear"}, "interpolation_type is 'log_linear'"),
    ({"use_beta_sigmas": True}, "use_beta_sigmas is True"),
    ({"use_flow_sigmas": True}, "use_flow_sigmas is True"),
    ({"use_karras_sigmas": None}, "use_karras_sigmas is None"),
    ({"lambda_min_clipped": -5.1}, "lambda_min_clipped is -5.1"),
    ({"variance_type": "learned_range"}, "variance_type is 'learned_range'"),
    ({"algorithm_type": "dpmsolver"}, "algorithm_type is 'dpmsolver'"),
    ({"disable_corrector": [0]}, "disable_corrector is"),
    ({"lower_order_final": False}, "lower_order_final is False"),
    ({"shift": 3.0}, "the setting 'shift', which is not known"),
    ({"sigma_data": 0.5}, "the setting 'sigma_data', which is not known"),
    ({"_use_default_values": ["beta_start"]}, "the setting '_use_default_values', which is not known"),
]


@pytest.mark.parametrize(("changes", "message"), WRONG_SETTINGS)
def test_settings_of_a_model_that_are_not_supported(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        check_settings(STABLE_DIFFUSION | changes)


@pytest.mark.parametrize("key", ["num_train_timesteps", "beta_start", "beta_end", "beta_schedule"])
def test_settings_that_the_schedulers_would_fill_in_differently(key: str) -> None:
    with pytest.raises(ModelError, match=f"lacks {key}"):
        check_settings({name: value for name, value in STABLE_DIFFUSION.items() if name != key})


@pytest.mark.parametrize(
    "name", [*NOISE_SCHEDULERS, "DEISMultistepScheduler", "HeunDiscreteScheduler", "KDPM2DiscreteScheduler"]
)
def test_what_a_scheduler_saves_of_itself_is_known_and_kept(name: str) -> None:
    """Every setting of every scheduler is known, so that none is lost; another scheduler's words stay its own."""
    kind: Any = getattr(diffusers, name)
    trained = {key: STABLE_DIFFUSION[key] for key in ("beta_start", "beta_end", "beta_schedule")}
    settings = check_settings(json.loads(kind(**trained).to_json_string()))
    for other in NOISE_SCHEDULERS:
        scheduler: Any = make_scheduler(settings, task_for(other, {}, 5))
        for key, value in settings.items():
            if key in scheduler.config and key not in SCHEDULERS[other].defaults and key != "solver_type":
                assert value in (scheduler.config[key], "deis"), (other, key)


@pytest.mark.parametrize(
    ("settings", "name", "arguments", "steps", "message"),
    [
        ({"timestep_spacing": "trailing"}, "DDIMScheduler", {}, 61, "to -1.*the rest is the model's"),
        ({"use_karras_sigmas": True}, "EulerDiscreteScheduler", {"use_exponential_sigmas": True}, 5, "set one of"),
        (
            {"beta_schedule": "squaredcos_cap_v2"}, "DDIMScheduler", {"timestep_spacing": "trailing"}, 5,
            "DDIMScheduler in 5 steps with timestep_spacing='trailing'.*starts from almost pure noise",
        ),
        (
            {"rescale_betas_zero_snr": True}, "LCMScheduler", {}, 5,
            "LCMScheduler in 5 steps.*starts from almost pure noise",
        ),
    ],
)  # fmt: skip
def test_settings_and_arguments_that_do_not_fit_together(
    settings: dict[str, Any], name: str, arguments: dict[str, Any], steps: int, message: str
) -> None:
    task = task_for(name, arguments, steps)
    with pytest.raises(PipelineError, match=message):
        make_scheduler(check_settings(STABLE_DIFFUSION | settings), task).set_timesteps(steps)
