"""The live Crynux network's image task arguments, as the fields of an image task (protocol T4)."""

import re
from collections.abc import Mapping
from typing import Any, Final

from crynux_validate.encoding import shorten
from crynux_validate.errors import InvalidTaskError
from crynux_validate.tasks.base import Dtype
from crynux_validate.tasks.crynux import Field, T, build, dtype_of, object_of, parse, read, text_of, typed
from crynux_validate.tasks.crynux_parts import FIELDS, Named, read_parts

_CONFIG: Final[Mapping[str, Field]] = {
    "image_width": Field("width", int, 512),
    "image_height": Field("height", int, 512),
    "steps": Field("steps", int, 1, 1, 100),
    "seed": Field("seed", int, 0, 0, 2**31 - 1),
    "num_images": Field("images", int, 6, 1, 10),
    "safety_checker": Field("safety_checker", bool, True),
    "cfg": Field("guidance_scale", float, 5.0, 0, 20),
}
"""Of ``task_config``."""

_DPM: Final = "DPMSolverMultistepScheduler"

_COMMON: Final = ("timestep_spacing", "steps_offset")

_SCHEDULERS: Final[Mapping[str, tuple[str, ...]]] = {
    _DPM: (
        *_COMMON,
        "solver_order",
        "algorithm_type",
        "solver_type",
        "euler_at_final",
        "use_karras_sigmas",
        "final_sigmas_type",
    ),
    "EulerAncestralDiscreteScheduler": _COMMON,
    "LCMScheduler": (*_COMMON, "original_inference_steps"),
}
"""The live network's schedulers, with those of their arguments that have a counterpart."""

_TRAINED: Final = dict.fromkeys(
    ("num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "prediction_type", "rescale_betas_zero_snr"),
    "says how the model was trained, which its own scheduler_config.json says too",
)
_CLIPPED: Final = "limits values, which latents are not"
_THRESHOLD: Final = {"thresholding": _CLIPPED, "dynamic_thresholding_ratio": _CLIPPED, "sample_max_value": _CLIPPED}

_WITHOUT: Final[Mapping[str, Mapping[str, str]]] = {
    _DPM: {
        **_TRAINED,
        **_THRESHOLD,
        "lower_order_final": "chooses the last steps, which are of lower order here",
        "use_lu_lambdas": "chooses noise levels that no task has; use_karras_sigmas is carried over",
        "lambda_min_clipped": "is for cosine schedules, which have to bring it in their own scheduler_config.json",
        "variance_type": "is for models that predict a variance, which are not supported",
    },
    "EulerAncestralDiscreteScheduler": _TRAINED,
    "LCMScheduler": {
        **_TRAINED,
        **_THRESHOLD,
        "clip_samples": _CLIPPED,
        "clip_samples_range": _CLIPPED,
        "set_alpha_to_one": "chooses the last step, which the model's own scheduler_config.json does here",
        "timestep_scaling": "is 10 for every model here",
    },
}
"""Of each those that have none, and why."""

_NEUTRAL: Final[Mapping[str, tuple[Any, ...]]] = {
    "num_train_timesteps": (1000,),
    "thresholding": (False,),
    "lower_order_final": (True,),
    "use_lu_lambdas": (False,),
    "timestep_scaling": (10.0, 10),
}
"""What every model that can be loaded has anyway: such an argument changes nothing."""

_IMAGE: Final = (
    "version", "base_model", "dtype", "prompt", "negative_prompt", "task_config", "scheduler", *FIELDS,
)  # fmt: skip

_VERSION: Final = re.compile(r"[0-9]{1,4}\.[0-9]{1,4}\.[0-9]{1,4}")


def image_task(
    kind: type[T],
    value: str | bytes | Mapping[str, Any],
    *,
    revision: str,
    parts: Mapping[str, Named] | None,
    algorithm: str,
    allow_unpinned: bool,
) -> T:
    """Read image task arguments; see `ImageTask.from_crynux`."""
    arguments = parse(value, _IMAGE)
    version = arguments.get("version", "1.0.0")
    if not isinstance(version, str) or not _VERSION.fullmatch(version):
        raise InvalidTaskError("version", f"is {shorten(version)}; expected three numbers like '2.5.0'")
    repository, variant, where = _base_model(arguments)
    fields = read(arguments.get("task_config", {}), "task_config", _CONFIG)
    fields |= {
        "prompt": text_of(arguments, "prompt"),
        "negative_prompt": typed(arguments.get("negative_prompt", ""), "negative_prompt", str),
        "dtype": _image_dtype(arguments, variant),
        "prompt_syntax": "compel",
        "algorithm": algorithm,
        **read_parts(arguments, parts),
        **_scheduler(arguments.get("scheduler", {})),
    }
    names = {found.here: f"task_config.{name}" for name, found in _CONFIG.items()}
    names |= {"scheduler": "scheduler.method", "scheduler_args": "scheduler.args"}
    names |= {
        "loras": "lora",
        "textual_inversions": "textual_inversion",
        "model.repository": where,
        "model.variant": "base_model.variant",
        "model.revision": "revision",
    }
    return build(kind, fields, names, repository, variant, revision, allow_unpinned)


def _base_model(arguments: Mapping[str, Any]) -> tuple[str, str | None, str]:
    """The repository, the variant, and the name of the field that holds the repository."""
    found = arguments.get("base_model")
    if not isinstance(found, dict):
        return text_of(arguments, "base_model"), None, "base_model"
    object_of(found, "base_model", ("name", "variant"))
    variant = found.get("variant")
    if variant is not None:
        typed(variant, "base_model.variant", str)
    return text_of(found, "name", "base_model."), variant, "base_model.name"


def _image_dtype(arguments: Mapping[str, Any], variant: str | None) -> Dtype:
    """There weights of the variant fp16 are loaded as float16, whatever the dtype says, and ``auto`` is float32."""
    dtype = dtype_of(arguments, "float32")
    return "float16" if variant == "fp16" else dtype


def _scheduler(value: Any) -> dict[str, Any]:
    object_of(value, "scheduler", ("method", "args"))
    method = value.get("method", _DPM)
    if not isinstance(method, str):
        raise InvalidTaskError("scheduler.method", f"is {shorten(method)}; expected one of {', '.join(_SCHEDULERS)}")
    if method not in _SCHEDULERS:
        raise InvalidTaskError(
            "scheduler.method", f"is {shorten(method)}; expected one of {', '.join(_SCHEDULERS)}", "unsupported"
        )
    found = value.get("args")
    given = {} if found is None else object_of(found, "scheduler.args")
    there = (*_SCHEDULERS[method], *_WITHOUT[method])
    object_of(given, "scheduler.args", there)
    for name, why in _WITHOUT[method].items():
        argument = given.get(name)
        same = any(type(argument) is type(value) and argument == value for value in _NEUTRAL.get(name, ()))
        if argument is not None and not same:
            raise InvalidTaskError(
                f"scheduler.args.{name}", f"is {shorten(argument)}; it {why}: leave it out", "unsupported"
            )
    return {
        "scheduler": method,
        "scheduler_args": {name: given[name] for name in _SCHEDULERS[method] if given.get(name) is not None},
    }
