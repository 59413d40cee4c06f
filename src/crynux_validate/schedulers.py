"""The schedulers that an image task may name, their arguments, and the limits of these.

The names are class names of diffusers. If a task leaves out an argument, the model's own scheduler configuration gives
it; the model's revision fixes that. An argument on which the allowed number of steps depends has a default here, which
is written into the task: the task's bytes alone must show whether the task is valid (protocol T1, A1).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from crynux_validate.encoding import shorten
from crynux_validate.errors import InvalidTaskError

SchedulerArgument = bool | int | float | str

Choices = tuple[SchedulerArgument, ...] | range
"""The allowed values of an argument: a tuple of alternatives, or a range of integers."""

MAX_STEPS: Final = 500
"""With more steps, "leading" timesteps go beyond the 1,000 that models are trained on."""


@dataclass(frozen=True)
class SchedulerSpec:
    """One scheduler and what a task may ask of it.

    Parameters
    ----------
    about
        A description in one line.
    arguments
        The allowed values of each argument.
    defaults
        Arguments that are written into every task that leaves them out.
    draws_noise
        Whether the scheduler draws noise in every step (ancestral, stochastic, consistency).
    flow
        Whether the scheduler is for models that predict a flow (SD 3, FLUX and others), not noise.
    """

    about: str
    arguments: Mapping[str, Choices]
    defaults: Mapping[str, SchedulerArgument] = field(default_factory=dict)
    draws_noise: bool = False
    flow: bool = False


_FLAG: Final[Choices] = (False, True)
_SPACING: Final[Mapping[str, Choices]] = {
    "timestep_spacing": ("leading", "linspace", "trailing"),
    "steps_offset": range(2),
}
_SIGMAS: Final[Mapping[str, Choices]] = {
    "use_karras_sigmas": _FLAG,
    "use_exponential_sigmas": _FLAG,
    "final_sigmas_type": ("zero", "sigma_min"),
}

SCHEDULERS: Final[Mapping[str, SchedulerSpec]] = {
    "DDIMScheduler": SchedulerSpec(
        "DDIM (arXiv 2010.02502), eta 0: deterministic",
        {**_SPACING, "set_alpha_to_one": _FLAG, "clip_sample": _FLAG},
    ),
    "PNDMScheduler": SchedulerSpec(
        "PNDM (arXiv 2202.09778); without skip_prk_steps it needs at least 4 steps",
        {**_SPACING, "skip_prk_steps": _FLAG, "set_alpha_to_one": _FLAG},
        {"skip_prk_steps": True},
    ),
    "EulerDiscreteScheduler": SchedulerSpec(
        "Euler steps (arXiv 2206.00364, algorithm 2 without churn)",
        {**_SPACING, **_SIGMAS},
    ),
    "EulerAncestralDiscreteScheduler": SchedulerSpec(
        "Euler steps with ancestral noise",
        _SPACING,
        draws_noise=True,
    ),
    "DPMSolverMultistepScheduler": SchedulerSpec(
        "DPM-Solver++ (arXiv 2211.01095), multistep",
        {
            **_SPACING,
            **_SIGMAS,
            "algorithm_type": ("dpmsolver++", "sde-dpmsolver++"),
            "solver_order": range(1, 4),
            "solver_type": ("midpoint", "heun"),
            "euler_at_final": _FLAG,
        },
        draws_noise=True,
    ),
    "LCMScheduler": SchedulerSpec(
        "Latent consistency models (arXiv 2310.04378); at most original_inference_steps steps",
        {**_SPACING, "original_inference_steps": range(1, MAX_STEPS + 1)},
        {"original_inference_steps": 50},
        draws_noise=True,
    ),
    "UniPCMultistepScheduler": SchedulerSpec(
        "UniPC (arXiv 2302.04867)",
        {**_SPACING, **_SIGMAS, "solver_order": range(1, 4)},
    ),
    "FlowMatchEulerDiscreteScheduler": SchedulerSpec(
        "Euler steps along a flow (arXiv 2403.03206)",
        {"use_karras_sigmas": _FLAG, "use_exponential_sigmas": _FLAG, "stochastic_sampling": _FLAG},
        draws_noise=True,
        flow=True,
    ),
}
"""Every scheduler that a task may name."""

NOISE_SCHEDULERS: Final = tuple(name for name, spec in SCHEDULERS.items() if not spec.flow)
"""The schedulers of Stable Diffusion 1, 2 and XL."""

FLOW_SCHEDULERS: Final = tuple(name for name, spec in SCHEDULERS.items() if spec.flow)
"""The schedulers of all other families."""


def check_scheduler(name: str, arguments: Mapping[str, object], steps: int) -> dict[str, SchedulerArgument]:
    """Check a task's scheduler, and return its arguments together with the defaults.

    Parameters
    ----------
    name
        A class name of diffusers, one of `SCHEDULERS`.
    arguments
        The arguments in the task.
    steps
        The number of denoising steps in the task.

    Raises
    ------
    InvalidTaskError
        Code ``unsupported`` for a scheduler or an argument that is not allowed, ``limits`` for a value or a number of
        steps outside its limits.
    """
    if name not in SCHEDULERS:
        raise InvalidTaskError(
            "scheduler", f"is {shorten(name)}; expected one of {', '.join(SCHEDULERS)}", "unsupported"
        )
    spec = SCHEDULERS[name]
    for key in arguments:
        if key not in spec.arguments:
            allowed = ", ".join(sorted(spec.arguments))
            raise InvalidTaskError(
                f"scheduler_args.{key}", f"is not an argument of {name}; expected one of {allowed}", "unsupported"
            )
    checked = {key: _check_value(key, value, spec.arguments[key]) for key, value in arguments.items()}
    checked = {**spec.defaults, **checked}
    if checked.get("use_karras_sigmas") and checked.get("use_exponential_sigmas"):
        raise InvalidTaskError(
            "scheduler_args.use_exponential_sigmas", "and use_karras_sigmas are both set; set one of them", "limits"
        )
    if not 1 <= steps <= MAX_STEPS:
        raise InvalidTaskError("steps", f"is {steps}; expected 1 to {MAX_STEPS}", "limits")
    if checked.get("timestep_spacing") == "trailing" and _runs_past_zero(steps):
        problem = f"is {steps}; diffusers rounds the last of so many trailing timesteps to -1: use one more or less"
        raise InvalidTaskError("steps", problem, "limits")
    if name == "PNDMScheduler" and not checked["skip_prk_steps"] and steps < 4:
        raise InvalidTaskError(
            "steps", f"is {steps}; expected at least 4 for PNDMScheduler without skip_prk_steps", "limits"
        )
    if name == "LCMScheduler" and steps > int(checked["original_inference_steps"]):
        most = checked["original_inference_steps"]
        raise InvalidTaskError(
            "steps", f"is {steps}; expected at most {most}, the original_inference_steps of LCMScheduler", "limits"
        )
    return dict(sorted(checked.items()))


def _check_value(key: str, value: object, allowed: Choices) -> SchedulerArgument:
    # bool is an int in Python, and True == 1: compare the types as well.
    for choice in allowed:
        if type(value) is type(choice) and value == choice:
            return choice
    if isinstance(allowed, range):
        expected = f"an integer from {allowed.start} to {allowed.stop - 1}"
    else:
        expected = "one of " + ", ".join(map(repr, allowed))
    raise InvalidTaskError(f"scheduler_args.{key}", f"is {shorten(value)}; expected {expected}", "limits")


def _runs_past_zero(steps: int) -> bool:
    """Whether so many trailing timesteps, counted down from 1,000 in float64, would be one more than asked for."""
    return math.ceil(1000 / (1000 / steps)) > steps
