"""Whatever a task may ask of a scheduler can be computed: every combination of arguments, in some numbers of steps."""

import contextlib
import itertools
import warnings
from collections.abc import Iterator
from typing import Any

import pytest

torch = pytest.importorskip("torch")
diffusers = pytest.importorskip("diffusers")

from crynux_validate.errors import InvalidTaskError  # noqa: E402
from crynux_validate.pipelines.determinism import deterministic  # noqa: E402
from crynux_validate.pipelines.images import Noise  # noqa: E402
from crynux_validate.schedulers import SCHEDULERS, check_scheduler  # noqa: E402

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


def every_choice(name: str) -> Iterator[tuple[int, dict[str, Any]]]:
    choices = {key: list(values) for key, values in SCHEDULERS[name].arguments.items()}
    if name == "LCMScheduler":
        choices["original_inference_steps"] = [1, 7, 50, 500]
    for steps, values in itertools.product(STEPS, itertools.product(*choices.values())):
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


@pytest.mark.parametrize("name", sorted(SCHEDULERS))
def test_every_choice_is_finite(name: str) -> None:
    tried = 0
    with deterministic(), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # diffusers' own, under numpy 2
        for steps, arguments in every_choice(name):
            assert torch.isfinite(denoise(name, arguments, steps)).all(), (steps, arguments)
            tried += 1
    assert tried >= 4 * len(STEPS)


def test_trailing_timesteps_that_run_past_zero_are_refused() -> None:
    import numpy as np

    for steps in range(1, 501):
        last = (np.round(np.arange(1000, 0, -1000 / steps)).astype(np.int64) - 1).min()
        if last < 0:
            with pytest.raises(InvalidTaskError, match="one step more or less"):
                check_scheduler("DDIMScheduler", {"timestep_spacing": "trailing"}, steps)
        else:
            check_scheduler("DDIMScheduler", {"timestep_spacing": "trailing"}, steps)
