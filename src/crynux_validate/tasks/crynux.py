"""The live Crynux network's task arguments, as the fields of this library's tasks (protocol T4).

Names, defaults and ranges are the live network's; errors name a field as it is spelled there. What has no counterpart
here is refused, never left out in silence: the task would be another one.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from crynux_validate.encoding import parse_json, shorten, shorten_name
from crynux_validate.errors import InvalidTaskError
from crynux_validate.tasks.base import DTYPES, BaseTask, Dtype
from crynux_validate.tasks.model import ModelRef

MAX_ARGUMENT_BYTES: Final = 4_194_304
"""The most bytes of JSON that are read as task arguments; pictures for a ControlNet stand in some, as text."""

T = TypeVar("T", bound=BaseTask)


@dataclass(frozen=True)
class _Field:
    """A field of the live network's that has a counterpart here.

    Parameters
    ----------
    here
        What it is called here.
    kind
        Its type; a float may be written as an integer.
    default
        What holds there where it is not named; None where nothing does.
    low, high
        Its range there, where there is one.
    """

    here: str
    kind: type[bool] | type[int] | type[float] | type[str] | type[list[Any]]
    default: Any = None
    low: float | None = None
    high: float | None = None


_KINDS: Final = {bool: "true or false", int: "an integer", float: "a number", str: "text", list: "a list"}

_CONFIG: Final[Mapping[str, _Field]] = {
    "image_width": _Field("width", int, 512),
    "image_height": _Field("height", int, 512),
    "steps": _Field("steps", int, 1, 1, 100),
    "seed": _Field("seed", int, 0, 0, 2**31 - 1),
    "num_images": _Field("images", int, 6, 1, 10),
    "safety_checker": _Field("safety_checker", bool, True),
    "cfg": _Field("guidance_scale", float, 5.0, 0, 20),
}
"""Of ``task_config``."""

_DPM: Final = "DPMSolverMultistepScheduler"
_SPACING: Final = ("timestep_spacing", "steps_offset")
_SCHEDULERS: Final[Mapping[str, tuple[str, ...]]] = {
    _DPM: (
        *_SPACING,
        "solver_order",
        "algorithm_type",
        "solver_type",
        "euler_at_final",
        "use_karras_sigmas",
        "final_sigmas_type",
    ),
    "EulerAncestralDiscreteScheduler": _SPACING,
    "LCMScheduler": (*_SPACING, "original_inference_steps"),
}
"""The live network's schedulers, with those of their arguments that can be carried over."""

_IMAGE_ONLY_THERE: Final = ("unet", "lora", "controlnet", "vae", "refiner", "textual_inversion")
_IMAGE: Final = (
    "version", "base_model", "dtype", "prompt", "negative_prompt", "task_config", "scheduler", *_IMAGE_ONLY_THERE,
)  # fmt: skip

_GENERATION: Final[Mapping[str, _Field]] = {
    "max_new_tokens": _Field("max_new_tokens", int, 256),
    "stop_strings": _Field("stop", list),
    "do_sample": _Field("do_sample", bool),
    "num_beams": _Field("beams", int),
    "temperature": _Field("temperature", float),
    "typical_p": _Field("typical_p", float),
    "top_k": _Field("top_k", int),
    "top_p": _Field("top_p", float),
    "min_p": _Field("min_p", float),
    "repetition_penalty": _Field("repetition_penalty", float),
    "num_return_sequences": _Field("sequences", int, 1),
}
"""Of ``generation_config``. What has no default comes from the model there, else from transformers: as here."""

_SAMPLING: Final = ("temperature", "typical_p", "top_k", "top_p", "min_p")
_TOP_K: Final = 50
"""What transformers takes where neither the task nor the model says; the others change nothing then."""

_NO_TOKEN: Final = frozenset({
    "_from_model_config", "assistant_confidence_threshold", "assistant_early_exit", "assistant_ensemble_weight",
    "assistant_lookbehind", "bos_token_id", "cache_config", "cache_implementation", "compile_config",
    "continuous_batching_config", "decoder_start_token_id", "disable_compile", "low_memory", "max_cache_len",
    "max_length", "max_matching_ngram_size", "num_assistant_tokens", "num_assistant_tokens_schedule",
    "output_attentions", "output_hidden_states", "output_logits", "output_scores", "pad_token_id",
    "prefill_chunk_size", "return_dict_in_generate", "speculation_type", "target_lookbehind", "transformers_version",
    "use_cache",
})  # fmt: skip
"""Of a model's ``generation_config.json``: what chooses no token where a task names `max_new_tokens`."""

_NEUTRAL: Final[Mapping[str, tuple[Any, ...]]] = {
    "early_stopping": (False,), "length_penalty": (1.0,), "num_beam_groups": (1,), "diversity_penalty": (0.0,),
    "no_repeat_ngram_size": (0,), "encoder_no_repeat_ngram_size": (0,), "encoder_repetition_penalty": (1.0,),
    "min_length": (0,), "min_new_tokens": (0,), "epsilon_cutoff": (0.0,), "eta_cutoff": (0.0,),
    "guidance_scale": (1.0,), "remove_invalid_values": (False,), "renormalize_logits": (False,),
    "token_healing": (False,), "use_mtp": (False,), "is_assistant": (False,), "penalty_alpha": (0.0,),
    "suppress_tokens": ([],), "begin_suppress_tokens": ([],), "bad_words_ids": ([],), "sequence_bias": ({}, []),
    "constraints": ([],), "force_words_ids": ([],),
}  # fmt: skip
"""Of it: what no task has, with the values at which it changes nothing."""

_TEXT_ONLY_THERE: Final = ("quantize_bits", "template_args")
_TEXT: Final = ("model", "messages", "tools", "generation_config", "seed", "dtype", *_TEXT_ONLY_THERE)
_MESSAGE: Final = ("role", "content", "tool_call_id", "tool_calls")
_ROLES: Final = ("system", "user", "assistant", "tool")

_VERSION: Final = re.compile(r"[0-9]{1,4}\.[0-9]{1,4}\.[0-9]{1,4}")


def image_task(
    kind: type[T], value: str | bytes | Mapping[str, Any], *, revision: str, algorithm: str, allow_unpinned: bool
) -> T:
    """Read image task arguments; see `ImageTask.from_crynux`."""
    arguments = _parse(value, _IMAGE, _IMAGE_ONLY_THERE)
    version = arguments.get("version", "1.0.0")
    if not isinstance(version, str) or not _VERSION.fullmatch(version):
        raise InvalidTaskError("version", f"is {shorten(version)}; expected three numbers like '2.5.0'")
    repository, variant, where = _base_model(arguments)
    fields = _read(arguments.get("task_config", {}), "task_config", _CONFIG)
    fields |= {
        "prompt": _text(arguments, "prompt"),
        "negative_prompt": _typed(arguments.get("negative_prompt", ""), "negative_prompt", str),
        "dtype": _image_dtype(arguments, variant),
        "algorithm": algorithm,
        **_scheduler(arguments.get("scheduler", {})),
    }
    names = {found.here: f"task_config.{name}" for name, found in _CONFIG.items()}
    names |= {"scheduler": "scheduler.method", "scheduler_args": "scheduler.args"}
    names |= {"model.repository": where, "model.variant": "base_model.variant", "model.revision": "revision"}
    return _build(kind, fields, names, repository, variant, revision, allow_unpinned)


def text_task(
    kind: type[T],
    value: str | bytes | Mapping[str, Any],
    *,
    revision: str,
    auto_dtype: Dtype,
    model_defaults: Mapping[str, Any] | None,
    binding: str,
    allow_unpinned: bool,
) -> T:
    """Read text task arguments; see `TextTask.from_crynux`."""
    arguments = _parse(value, _TEXT, _TEXT_ONLY_THERE)
    messages, tools = arguments.get("messages"), arguments.get("tools")
    fields = {
        "messages": [_message(message, f"messages.{at}") for at, message in enumerate(_list(messages, "messages"))],
        "tools": [] if tools is None else _list(tools, "tools"),
        "dtype": _dtype(arguments, auto_dtype),
        "binding": binding,
        **_read({"seed": arguments.get("seed", 0)}, "", {"seed": _Field("seed", int, 0)}),
        **_generation(arguments.get("generation_config"), model_defaults),
    }
    names = {found.here: f"generation_config.{name}" for name, found in _GENERATION.items()}
    names |= {"model.repository": "model", "model.revision": "revision", "eos_token_ids": "model_defaults.eos_token_id"}
    return _build(kind, fields, names, _text(arguments, "model"), None, revision, allow_unpinned)


def _parse(
    value: str | bytes | Mapping[str, Any], known: tuple[str, ...], only_there: tuple[str, ...]
) -> dict[str, Any]:
    """Read JSON, or check a dictionary as if it were; refuse fields that nobody knows, and what has no counterpart."""
    try:
        text = value if isinstance(value, str | bytes) else json.dumps(value)
        arguments = parse_json(text, "the task arguments", MAX_ARGUMENT_BYTES)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidTaskError("", f"no task arguments in JSON: {error}") from error
    _object(arguments, "", known)
    for name in only_there:
        if arguments.get(name) not in (None, "", {}):
            raise InvalidTaskError(
                name,
                f"is {shorten(arguments[name])}; no task of this library has it: leave it out if the task can do"
                " without",
                "unsupported",
            )
    return dict(arguments)


def _base_model(arguments: Mapping[str, Any]) -> tuple[str, str | None, str]:
    """The repository, the variant, and the name of the field that holds the repository."""
    found = arguments.get("base_model")
    if not isinstance(found, dict):
        return _text(arguments, "base_model"), None, "base_model"
    _object(found, "base_model", ("name", "variant"))
    variant = found.get("variant")
    if variant is not None:
        _typed(variant, "base_model.variant", str)
    return _text(found, "name", "base_model."), variant, "base_model.name"


def _dtype(arguments: Mapping[str, Any], auto: Dtype) -> Dtype:
    """The dtype, with what stands for ``auto``."""
    found = arguments.get("dtype", "auto")
    if found == "auto":
        return auto
    if isinstance(found, str) and found not in DTYPES:
        raise InvalidTaskError(
            "dtype", f"is {shorten(found)}; expected one of auto, {', '.join(DTYPES)}", "unsupported"
        )
    dtype: Dtype = _typed(found, "dtype", str)
    return dtype


def _image_dtype(arguments: Mapping[str, Any], variant: str | None) -> Dtype:
    """There weights of the variant fp16 are loaded as float16, whatever the dtype says, and ``auto`` is float32."""
    dtype = _dtype(arguments, "float32")
    return "float16" if variant == "fp16" else dtype


def _scheduler(value: Any) -> dict[str, Any]:
    _object(value, "scheduler", ("method", "args"))
    method = value.get("method", _DPM)
    if not isinstance(method, str):
        raise InvalidTaskError("scheduler.method", f"is {shorten(method)}; expected one of {', '.join(_SCHEDULERS)}")
    if method not in _SCHEDULERS:
        raise InvalidTaskError(
            "scheduler.method", f"is {shorten(method)}; expected one of {', '.join(_SCHEDULERS)}", "unsupported"
        )
    found = value.get("args")
    given = {} if found is None else _object(found, "scheduler.args")
    for name, argument in given.items():
        if name not in _SCHEDULERS[method] and argument is not None:
            allowed = ", ".join(sorted(_SCHEDULERS[method]))
            raise InvalidTaskError(
                f"scheduler.args.{name}", f"cannot be carried over; of {method} {allowed} can", "unsupported"
            )
    return {
        "scheduler": method,
        "scheduler_args": {name: found for name, found in given.items() if found is not None},
    }


def _message(value: Any, name: str) -> dict[str, Any]:
    """A message without the fields that are null: there they mean nothing."""
    found = {key: item for key, item in _object(value, name, _MESSAGE).items() if item is not None or key == "content"}
    role = found.get("role")
    if isinstance(role, str) and role not in _ROLES:
        raise InvalidTaskError(
            f"{name}.role", f"is {shorten(role)}; expected one of {', '.join(_ROLES)}", "unsupported"
        )
    return found


def _generation(value: Any, model_defaults: Mapping[str, Any] | None) -> dict[str, Any]:
    """How tokens are chosen: what the task names, else what the model says, else transformers' defaults."""
    given = _read({} if value is None else value, "generation_config", _GENERATION)
    named = {} if value is None else {_GENERATION[name].here for name, item in value.items() if item is not None}
    taken = {} if model_defaults is None else _of_model(model_defaults)
    found = given | {here: item for here, item in taken.items() if here not in named}
    unclear = [name for name in _SAMPLING if name in named]
    if unclear and model_defaults is None and "do_sample" not in named:
        raise InvalidTaskError(
            "generation_config.do_sample",
            f"is missing, although {unclear[0]} is given: the model's own generation_config.json decides then; name"
            " do_sample, or pass that file's content as model_defaults",
        )
    if found.get("do_sample", False):
        found.setdefault("top_k", _TOP_K)
        return found
    # Without sampling the live network ignores them, with a warning in its log.
    return {here: item for here, item in found.items() if here not in _SAMPLING}


def _of_model(defaults: Mapping[str, Any]) -> dict[str, Any]:
    """What a model's generation_config.json says of the fields that a task can name and has no default for.

    What would change the tokens and has no counterpart is refused, as it is in the arguments.
    """
    if not isinstance(defaults, Mapping):
        raise InvalidTaskError("model_defaults", f"is {shorten(defaults)}; expected the content of a JSON object")
    for name, value in defaults.items():
        known = name == "eos_token_id" or name in _GENERATION or name in _NO_TOKEN
        if not known and value is not None and value not in _NEUTRAL.get(name, ()):
            raise InvalidTaskError(
                f"model_defaults.{shorten_name(str(name))}",
                f"is {shorten(value)}; no task of this library has it: leave it out if the task can do without",
                "unsupported",
            )
    open_there = {name: found for name, found in _GENERATION.items() if found.default is None}
    found = _read({name: defaults[name] for name in open_there if name in defaults}, "model_defaults", open_there)
    end = defaults.get("eos_token_id")
    if end is not None:
        found["eos_token_ids"] = [end] if type(end) is int else _typed(end, "model_defaults.eos_token_id", list)
    return found


def _read(value: Any, name: str, table: Mapping[str, _Field]) -> dict[str, Any]:
    """Check an object's fields and return them by their names here; null is as good as not named."""
    found = {}
    _object(value, name, tuple(table))
    for key, field in table.items():
        item = value.get(key)
        if item is None:
            item = field.default
        if item is None:
            continue
        full = f"{name}.{key}" if name else key
        _typed(item, full, field.kind)
        if field.low is not None and field.high is not None and not field.low <= item <= field.high:
            raise InvalidTaskError(full, f"is {shorten(item)}; expected {field.low} to {field.high}", "limits")
        found[field.here] = item
    return found


def _typed(value: Any, name: str, kind: type[Any]) -> Any:
    """Return a value of this JSON type: true is no number, and 1.0 no integer."""
    if type(value) is not kind and not (kind is float and type(value) is int):
        raise InvalidTaskError(name, f"is {shorten(value)}; expected {_KINDS[kind]}")
    return value


def _text(value: Mapping[str, Any], name: str, parent: str = "") -> str:
    """Return a text that must be there, and not be empty."""
    if name not in value:
        raise InvalidTaskError(f"{parent}{name}", "is missing; expected text")
    found: str = _typed(value[name], f"{parent}{name}", str)
    if not found:
        raise InvalidTaskError(f"{parent}{name}", "is empty; expected text", "limits")
    return found


def _list(value: Any, name: str) -> list[Any]:
    if value is None:
        raise InvalidTaskError(name, "is missing; expected a list")
    found: list[Any] = _typed(value, name, list)
    return found


def _object(value: Any, name: str, known: tuple[str, ...] | None = None) -> Mapping[str, Any]:
    """Return a JSON object of known fields only."""
    if not isinstance(value, dict):
        raise InvalidTaskError(name, f"is {shorten(value)}; expected a JSON object")
    for key in value if known is not None else ():
        if key not in (known or ()):
            raise InvalidTaskError(
                f"{name}.{key}" if name else key,
                f"no such field; the live network has {', '.join(known or ())}",
                "unsupported",
            )
    return value


def _build(
    kind: type[T],
    fields: Mapping[str, Any],
    names: Mapping[str, str],
    repository: str,
    variant: str | None,
    revision: str,
    allow_unpinned: bool,
) -> T:
    """Make the task; whatever it refuses is named as the live network spells it."""
    try:
        model = ModelRef(repository, revision=revision, variant=variant, allow_unpinned=allow_unpinned)
        return kind(model=model, **fields)
    except InvalidTaskError as error:
        parts = error.field.split(".")
        for length in range(len(parts), 0, -1):
            there = names.get(".".join(parts[:length]))
            if there is not None:
                raise InvalidTaskError(".".join([there, *parts[length:]]), error.problem, error.code) from error
        raise
