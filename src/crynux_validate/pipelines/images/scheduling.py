"""A scheduler for each image: the model's own configuration, checked, with the task's arguments.

diffusers drops what it does not know of a configuration, and a schedule that does not fit together draws something
else without a word. So every setting is checked here, and so are the timesteps and noise levels that come of them.
"""

import functools
import inspect
import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from crynux_validate.encoding import shorten
from crynux_validate.errors import InvalidTaskError, ModelError, PipelineError
from crynux_validate.pipelines.models.loading import RUNNING
from crynux_validate.schedulers import SCHEDULERS, check_scheduler
from crynux_validate.tasks import ImageTask

_FLAG: Final = (False, True)

_MODEL_SETTINGS: Final[Mapping[str, tuple[object, ...]]] = {
    # How the model was trained.
    "num_train_timesteps": (1000,),
    "beta_schedule": ("linear", "scaled_linear", "squaredcos_cap_v2"),
    "trained_betas": (None,),
    "prediction_type": ("epsilon", "v_prediction"),
    "rescale_betas_zero_snr": _FLAG,
    # How images are drawn with it.
    "algorithm_type": ("dpmsolver++", "sde-dpmsolver++", "deis"),
    "solver_type": ("midpoint", "heun", "bh1", "bh2", "logrho"),
    "clip_sample": _FLAG,
    "clip_sample_range": (1.0,),
    "thresholding": (False,),
    "interpolation_type": ("linear",),
    "timestep_type": ("discrete",),
    "timestep_scaling": (10.0,),
    "sigma_min": (None,),
    "sigma_max": (None,),
    "use_beta_sigmas": (False,),
    "use_lu_lambdas": (False,),
    "use_flow_sigmas": (False,),
    "flow_shift": (1.0,),
    "use_dynamic_shifting": (False,),
    "time_shift_type": ("exponential",),
    "shift_terminal": (None,),
    "lower_order_final": (True,),
    "lambda_min_clipped": (-math.inf,),
    "variance_type": (None,),
    "predict_x0": (True,),
    "disable_corrector": ([],),
    "solver_p": (None,),
}
"""What a model's scheduler configuration may say, besides the arguments that a task may name."""

_NEEDED: Final = ("num_train_timesteps", "beta_start", "beta_end", "beta_schedule")
"""The schedulers have defaults for these that differ from each other."""

_NUMBERS: Final = ("beta_start", "beta_end")

_UNUSED: Final = ("dynamic_thresholding_ratio", "sample_max_value", "_class_name", "_diffusers_version")
"""Read only with thresholding, which must be off; and where it comes from: a task names its own scheduler."""

_WORDS: Final[Mapping[tuple[str, str], tuple[str, ...]]] = {
    ("DPMSolverMultistepScheduler", "algorithm_type"): ("dpmsolver++", "sde-dpmsolver++"),
    ("DPMSolverMultistepScheduler", "solver_type"): ("midpoint", "heun"),
    ("UniPCMultistepScheduler", "solver_type"): ("bh1", "bh2"),
}
"""Settings whose words mean something to one scheduler only: the words of another are left out."""

_MOST_OFF: Final = 0.02
"""How far a timestep's noise may be from the noise level that the scheduler computes with, as an angle.

The angle's tangent is the noise level. Rounding to whole timesteps gives at most 0.013 (docs/measurements/models.md).
"""

_MOST_NOISE: Final = 1000.0
"""The highest noise level from which a model that predicts noise can start: errors grow by this factor.

Stable Diffusion's betas end at 15, linear ones at 157, cosine ones at 20,000, and those of zero-SNR have no end.
"""


def check_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings in a model's scheduler configuration, checked as strictly as a task's arguments.

    Parameters
    ----------
    config
        What stands in ``scheduler_config.json``.

    Raises
    ------
    ModelError
        For a setting that is missing, unknown, or has a value that is not supported: a default in its place would draw
        other pictures than the model was made for.
    """
    where = "the model's scheduler_config.json"
    allowed = _allowed()
    for key in _NEEDED:
        if key not in config:
            raise ModelError(f"{where} lacks {key}; load a whole pipeline, as diffusers saves it")
    for key, value in config.items():
        if key in _UNUSED:
            continue
        if key in _NUMBERS:
            good, expected = isinstance(value, float) and 0 < value < 1, "a number between 0 and 1"
        elif key in allowed:
            good = any(_same(value, choice) for choice in allowed[key])
            expected = " or ".join(map(repr, allowed[key])) if len(allowed[key]) < 9 else f"1 to {len(allowed[key])}"
        else:
            raise ModelError(f"{where} has the setting {key!r}, which is not known here; its effect would be lost")
        if not good:
            raise ModelError(f"{where}: {key} is {value!r}; supported is {expected}")
    if config["beta_start"] > config["beta_end"]:
        raise ModelError(f"{where}: beta_start {config['beta_start']} is larger than beta_end {config['beta_end']}")
    return {key: value for key, value in config.items() if key not in _UNUSED}


_FLOW_SETTINGS: Final[Mapping[str, tuple[object, ...]]] = {
    "num_train_timesteps": (1000,),
    "use_dynamic_shifting": _FLAG,
    "invert_sigmas": (False,),
    "use_karras_sigmas": _FLAG,
    "use_exponential_sigmas": _FLAG,
    "use_beta_sigmas": (False,),
    "time_shift_type": ("exponential", "linear"),
    "stochastic_sampling": _FLAG,
}
"""What the configuration of a scheduler along a flow may say, besides these numbers."""

_FLOW_NUMBERS: Final = {"shift": 100, "base_shift": 10, "max_shift": 10, "shift_terminal": 0.5}
_FLOW_COUNTS: Final = ("base_image_seq_len", "max_image_seq_len")
_MOST_TOKENS: Final = 65536


def check_flow_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a scheduler along a flow, as `check_settings` does; likewise raises `ModelError`."""
    where = "the model's scheduler_config.json"
    for key in ("num_train_timesteps", "shift"):
        if key not in config:
            raise ModelError(f"{where} lacks {key}; load a whole pipeline, as diffusers saves it")
    for key, value in config.items():
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if key in _UNUSED or (key == "shift_terminal" and value is None):
            continue
        if key in _FLOW_NUMBERS:
            good, expected = (
                number and 0 < value <= _FLOW_NUMBERS[key],
                f"a number above 0, at most {_FLOW_NUMBERS[key]}",
            )
        elif key in _FLOW_COUNTS:
            good, expected = type(value) is int and 0 < value <= _MOST_TOKENS, f"a count from 1 to {_MOST_TOKENS}"
        elif key in _FLOW_SETTINGS:
            good = any(_same(value, choice) for choice in _FLOW_SETTINGS[key])
            expected = " or ".join(map(repr, _FLOW_SETTINGS[key]))
        else:
            raise ModelError(f"{where} has the setting {key!r}, which is not known here; its effect would be lost")
        if not good:
            raise ModelError(f"{where}: {key} is {shorten(value)}; supported is {expected}")
    if config.get("base_image_seq_len", 256) >= config.get("max_image_seq_len", 4096):
        raise ModelError(f"{where}: base_image_seq_len is not below max_image_seq_len; get the model again")
    return {key: value for key, value in config.items() if key not in _UNUSED}


def _allowed() -> dict[str, tuple[object, ...]]:
    """Every setting with its values: those of a model, and those that a task may give to some scheduler."""
    allowed = dict(_MODEL_SETTINGS)
    for spec in SCHEDULERS.values():
        for key, choices in spec.arguments.items() if not spec.flow else ():
            allowed[key] = tuple(dict.fromkeys((*allowed.get(key, ()), *choices)))
    return allowed


def _same(value: object, choice: object) -> bool:
    # True == 1 in Python; 1 and 1.0 are the same number in JSON.
    numbers = isinstance(value, int | float) and isinstance(choice, float) and not isinstance(value, bool)
    return value == choice and (numbers or type(value) is type(choice))


def make_scheduler(settings: Mapping[str, Any], task: ImageTask) -> Any:
    """Return a new scheduler: one that was used keeps a state.

    Parameters
    ----------
    settings
        The model's, of `check_settings`.
    task
        Names the scheduler, and arguments that come before the model's settings.

    Raises
    ------
    PipelineError
        Where the task's arguments and the model's settings do not fit together. Whether they do depends on the model:
        the task may be fine with another.
    """
    name = task.scheduler
    import diffusers

    kind = getattr(diffusers, name)
    known = inspect.signature(kind).parameters
    if settings.get("rescale_betas_zero_snr") and "rescale_betas_zero_snr" not in known:
        raise PipelineError(f"scheduler: {name} ignores the model's rescale_betas_zero_snr; name another scheduler")
    merged = {key: settings[key] for key in settings if key in known}
    for (scheduler_name, key), words in _WORDS.items():
        if scheduler_name == name and merged.get(key) not in words:
            merged.pop(key, None)
    merged |= task.scheduler_args
    try:
        check_scheduler(name, {key: merged[key] for key in SCHEDULERS[name].arguments if key in merged}, task.steps)
    except InvalidTaskError as error:
        raise PipelineError(
            f"{error}. The task gives {dict(task.scheduler_args)}; the rest is the model's own: give the task other "
            "scheduler_args or steps"
        ) from error
    try:
        scheduler = kind(**merged)
    except RUNNING as error:
        raise PipelineError(f"{name} cannot be made from the model's configuration: {error}") from error
    for key, value in merged.items():
        if scheduler.config[key] != value:
            raise PipelineError(f"{name} replaces {key} {value!r} by {scheduler.config[key]!r}; give the task another")
    return _careful(scheduler, merged, task)


def _careful(scheduler: Any, merged: Mapping[str, Any], task: ImageTask) -> Any:
    """Check every schedule that the scheduler computes, and start it at its first step.

    diffusers looks the first timestep up, and takes the second of two equal ones: with zero-SNR or cosine betas and
    Karras or exponential noise levels the first step was lost, and the last one ended with an IndexError.
    """
    own = scheduler.set_timesteps

    @functools.wraps(own)
    def set_timesteps(*args: Any, **kwargs: Any) -> None:
        with np.errstate(all="ignore"):  # what is no number is found below
            own(*args, **kwargs)
        problem = schedule_problem(scheduler, task.steps)
        if problem is not None:
            given = ", ".join(f"{key}={merged[key]!r}" for key in SCHEDULERS[task.scheduler].arguments if key in merged)
            raise PipelineError(f"{task.scheduler} in {task.steps} steps with {given} {problem}; choose others")
        if hasattr(scheduler, "set_begin_index"):
            scheduler.set_begin_index(0)

    scheduler.set_timesteps = set_timesteps
    return scheduler


def without_scale(scheduler: Any) -> None:
    """Let a scheduler's pipeline take the first latent as it is given: it was scaled already."""
    scheduler.__class__ = type(type(scheduler).__name__, (type(scheduler),), {"init_noise_sigma": 1.0})


def schedule_problem(scheduler: Any, steps: int) -> str | None:
    """Return what is wrong with a scheduler's timesteps and noise levels, or None."""
    if SCHEDULERS[type(scheduler).__name__].flow:
        return _flow_problem(scheduler, steps)
    times = scheduler.timesteps.double().cpu().numpy()
    runge_kutta = type(scheduler).__name__ == "PNDMScheduler"
    if not runge_kutta and len(times) != steps:
        return f"gives {len(times)} timesteps"
    if not (times >= 0).all() or not (times < scheduler.config.num_train_timesteps).all():
        return f"gives timesteps from {times.min():g} to {times.max():g}, which the model was not trained on"
    if not runge_kutta and (np.diff(times) > 0).any():
        return "gives timesteps that rise"
    with np.errstate(divide="ignore"):
        products = scheduler.alphas_cumprod.double().cpu().numpy()
        trained = np.arctan(np.sqrt((1 - products) / products))
    angles = np.interp(times, np.arange(len(trained)), trained)
    if scheduler.config.prediction_type == "epsilon" and np.tan(angles.max()) > _MOST_NOISE:
        return "starts from almost pure noise, of which prediction_type 'epsilon' tells nothing"
    if not hasattr(scheduler, "sigmas"):
        return None
    levels = scheduler.sigmas.double().cpu().numpy()
    if not np.isfinite(levels).all() or (np.diff(levels) > 0).any():
        return "gives noise levels that rise or are not finite"
    if np.abs(angles - np.arctan(levels[: len(times)])).max() > _MOST_OFF:
        return "gives timesteps that do not fit its noise levels"
    if type(scheduler).__name__ == "EulerAncestralDiscreteScheduler" and not _ancestral(scheduler.sigmas):
        return "gives noise levels between which float32 loses the ancestral noise"
    return None


def _flow_problem(scheduler: Any, steps: int) -> str | None:
    """Likewise along a flow: from noise, at most 1, down to 0, with the timestep of each level."""
    levels, times = (values.double().cpu().numpy() for values in (scheduler.sigmas, scheduler.timesteps))
    if len(times) != steps or len(levels) != steps + 1:
        return f"gives {len(times)} timesteps"
    if not np.isfinite(levels).all() or (np.diff(levels) >= 0).any() or levels[0] > 1 or levels[-1] != 0:
        return "gives noise levels that do not fall from 1 to 0"
    if np.abs(times - levels[:-1] * scheduler.config.num_train_timesteps).max() > 1e-3:
        return "gives timesteps that do not fit its noise levels"
    return None


def _ancestral(levels: Any) -> bool:
    """Whether each step of ancestral noise leaves a noise level that is a number, computed as diffusers does."""
    high, low = levels[:-1], levels[1:]
    added = (low**2 * (high**2 - low**2) / high**2) ** 0.5
    return bool((low**2 - added**2 >= 0).all())
