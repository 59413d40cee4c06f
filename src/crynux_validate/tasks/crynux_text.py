"""The live Crynux network's text task arguments, as the fields of a text task (protocol T4)."""

import base64
import binascii
from collections.abc import Mapping
from typing import Any, Final

from crynux_validate.encoding import shorten, shorten_name
from crynux_validate.errors import InvalidTaskError
from crynux_validate.tasks.base import Dtype
from crynux_validate.tasks.crynux import Field, T, build, dtype_of, list_of, object_of, parse, read, text_of, typed
from crynux_validate.tasks.pictures import PictureRef

_GENERATION: Final[Mapping[str, Field]] = {
    "max_new_tokens": Field("max_new_tokens", int, 256),
    "stop_strings": Field("stop", list),
    "do_sample": Field("do_sample", bool),
    "num_beams": Field("beams", int),
    "temperature": Field("temperature", float),
    "typical_p": Field("typical_p", float),
    "top_k": Field("top_k", int),
    "top_p": Field("top_p", float),
    "min_p": Field("min_p", float),
    "repetition_penalty": Field("repetition_penalty", float),
    "num_return_sequences": Field("sequences", int, 1),
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

_TEXT: Final = (
    "model", "messages", "tools", "generation_config", "template_args", "seed", "dtype", "quantize_bits",
)  # fmt: skip

_MESSAGE: Final = ("role", "content", "tool_call_id", "tool_calls")

_ROLES: Final = ("system", "user", "assistant", "tool")


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
    arguments = parse(value, _TEXT)
    messages, tools = arguments.get("messages"), arguments.get("tools")
    variables = arguments.get("template_args")
    pictures: list[PictureRef] = []
    fields = {
        "messages": [
            _message(message, f"messages.{at}", pictures) for at, message in enumerate(list_of(messages, "messages"))
        ],
        "pictures": pictures,
        "tools": [] if tools is None else list_of(tools, "tools"),
        "template_args": {} if variables is None else object_of(variables, "template_args"),
        "dtype": dtype_of(arguments, auto_dtype),
        "quantize_bits": arguments.get("quantize_bits"),
        "binding": binding,
        **read({"seed": arguments.get("seed", 0)}, "", {"seed": Field("seed", int, 0)}),
        **_generation(arguments.get("generation_config"), model_defaults),
    }
    names = {found.here: f"generation_config.{name}" for name, found in _GENERATION.items()}
    names |= {"model.repository": "model", "model.revision": "revision", "eos_token_ids": "model_defaults.eos_token_id"}
    return build(kind, fields, names, text_of(arguments, "model"), None, revision, allow_unpinned)


def _message(value: Any, name: str, pictures: list[PictureRef]) -> dict[str, Any]:
    """A message without the fields that are null, which mean nothing there; its pictures are added to those before."""
    found = {
        key: item for key, item in object_of(value, name, _MESSAGE).items() if item is not None or key == "content"
    }
    role = found.get("role")
    if isinstance(role, str) and role not in _ROLES:
        raise InvalidTaskError(
            f"{name}.role", f"is {shorten(role)}; expected one of {', '.join(_ROLES)}", "unsupported"
        )
    if isinstance(found.get("content"), list | tuple):
        found["content"] = [
            _block(block, f"{name}.content.{at}", pictures) for at, block in enumerate(found["content"])
        ]
    return found


def _block(value: Any, name: str, pictures: list[PictureRef]) -> Any:
    """A block of content; there the bytes of a picture stand in it."""
    if not isinstance(value, Mapping) or value.get("type") != "image" or "base64" not in value:
        return value
    given = value["base64"]
    try:
        data = base64.b64decode(given, validate=True) if isinstance(given, str) else b""
        pictures.append(PictureRef.of(data))
    except (binascii.Error, ValueError) as error:
        raise InvalidTaskError(
            f"{name}.base64", f"is {shorten(given)}; expected the file of a PNG in base64"
        ) from error
    return {key: item for key, item in value.items() if key != "base64"}


def _generation(value: Any, model_defaults: Mapping[str, Any] | None) -> dict[str, Any]:
    """How tokens are chosen: what the task names, else what the model says, else transformers' defaults."""
    given = read({} if value is None else value, "generation_config", _GENERATION)
    named = {} if value is None else {_GENERATION[name].here for name, item in value.items() if item is not None}
    taken = {} if model_defaults is None else _of_model(model_defaults)
    found = given | {here: item for here, item in taken.items() if here not in named}
    unclear = [name for name in _SAMPLING if name in named]
    if unclear and model_defaults is None and "do_sample" not in named:
        raise InvalidTaskError(
            "generation_config.do_sample",
            f"is missing, although {unclear[0]} is given; set do_sample, or pass the content of the model's"
            " generation_config.json as model_defaults",
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
                f"is {shorten(value)}, and this library does not support it: leave it out if the task does not need it",
                "unsupported",
            )
    open_there = {name: found for name, found in _GENERATION.items() if found.default is None}
    found = read({name: defaults[name] for name in open_there if name in defaults}, "model_defaults", open_there)
    end = defaults.get("eos_token_id")
    if end is not None:
        found["eos_token_ids"] = [end] if type(end) is int else typed(end, "model_defaults.eos_token_id", list)
    return found
