"""Loading a language model: the files that a task names, none of its own defaults, and a check that it decodes."""

import copy
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch

from crynux_validate.encoding import canonical_json, shorten
from crynux_validate.errors import ModelError
from crynux_validate.pipelines.guard.process import require
from crynux_validate.pipelines.models.files import CONFIG, FAST_TOKENIZER, check_cached, check_files, check_stored
from crynux_validate.pipelines.models.hub_names import spelled
from crynux_validate.pipelines.models.loading import (
    DTYPES,
    READING,
    check_complete,
    check_not_shadowed,
    local_folder,
    not_found,
    own_memory,
    quiet,
    reading,
)
from crynux_validate.pipelines.models.recipe import digest_of, dtypes_of, plain, versions
from crynux_validate.pipelines.models.weights import check_counts, check_weights, held
from crynux_validate.pipelines.text.end_tokens import EndTokens, end_tokens
from crynux_validate.pipelines.text.passes import Calls, calls_of
from crynux_validate.pipelines.text.quantized import quantize
from crynux_validate.pipelines.text.seeing import FAMILIES, Eyes, check_sees, eyes
from crynux_validate.pipelines.text.stored import stored_as, tensors, weight_files, widen
from crynux_validate.tasks import Dtype, ModelRef, QuantizeBits

require("transformers")

_LIBRARIES: Final = ("jinja2", "safetensors", "tokenizers", "transformers")


@dataclass(frozen=True)
class LoadedText:
    """A language model that is ready to run, and the record of what was loaded.

    Parameters
    ----------
    model, tokenizer
        Of transformers.
    context
        The most tokens of input and output together; None where the model does not say.
    vocabulary
        How many token ids the model knows.
    end
        The tokens that end a sequence where the task does not say.
    calls
        How the model is run.
    eyes
        What prepares pictures; None where the model cannot be shown any.
    recipe
        What was loaded, read back: JSON values (see `Environment.recipe`).
    """

    model: Any
    tokenizer: Any
    context: int | None
    vocabulary: int
    end: EndTokens
    calls: Calls
    eyes: Eyes | None
    recipe: Mapping[str, Any]


def load(
    model: ModelRef,
    dtype: Dtype,
    device: torch.device,
    quantize_bits: QuantizeBits = None,
    *,
    pictures: bool = False,
) -> LoadedText:
    """Load a model with its tokenizer; enter the guard first. Weights are rounded to fewer bits as they are loaded.

    Parameters
    ----------
    model, dtype, device, quantize_bits
        As for `Runner`.
    pictures
        Whether it has to be one that can be shown pictures.

    Raises
    ------
    ModelError
        Where files are missing, damaged or not those that `model` names, or the model is not supported: neither a
        causal language model of transformers nor one of `seeing.FAMILIES`, or one that computes something else token by
        token than in one pass.
    DeterminismError
        Where the model draws random numbers.
    """
    with quiet("transformers"), _source(model) as (source, where):
        from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText

        _check_no_adapter(model, where, source)
        known = _check_kind(model, where, source)
        config: Any = _read(model, "the configuration", where, AutoConfig, source)
        if pictures:
            check_sees(model, config)
        _check_config(model, config)
        small = stored_as(model, config)
        attention = _attention(config)
        tokenizer = _read_tokenizer(model, where, source)
        _check_tokenizer(model, tokenizer)
        sees = config.model_type in FAMILIES
        seen = _read_eyes(model, where, source, config, tokenizer) if sees else None
        settings: dict[str, Any] = {
            "config": config, "dtype": DTYPES[dtype], "use_safetensors": True, "output_loading_info": True,
            "attn_implementation": attention, "experts_implementation": "eager",
        }  # fmt: skip
        family = _family(config)
        files = _reading(model, "the model", where, lambda: weight_files(source, model.variant))
        check_weights(
            "the model", where, known, held("the model", where, files), family, lambda: _hollow(family, config)
        )
        stored = None
        if small is None:
            auto = AutoModelForImageTextToText if sees else AutoModelForCausalLM
            loaded, info = _read(model, "the model", where, auto, source, variant=model.variant, **settings)
        else:
            state = _reading(model, "the model", where, lambda: tensors(files))
            stored = widen(model, state, small, config, DTYPES[dtype])
            del config.quantization_config
            loaded, info = reading(
                "the model", where, lambda: family.from_pretrained(None, state_dict=state, **settings)
            )
            del state
        check_complete("the model", where, info)
        # Before they are moved: the device never holds more than the small weights.
        rounded = None if quantize_bits is None else quantize(model, loaded, quantize_bits)
        loaded = reading("the model", where, lambda: own_memory(loaded.to(device).eval()))
        _forget_defaults(loaded, attention)
        text: Any = loaded.config.get_text_config(decoder=True)
        end = end_tokens(model, source, tokenizer)
        context = getattr(text, "max_position_embeddings", None)
        vocabulary = int(text.vocab_size)
        calls = calls_of(model, loaded, vocabulary, context, _meaningful(config, tokenizer))
    recipe = _recipe(model, loaded, tokenizer) | {"end_tokens": end.to_dict(), "quantized": rounded}
    recipe["stored"] = stored
    recipe["pictures"] = None if seen is None else seen.recipe()
    return LoadedText(loaded, tokenizer, context, vocabulary, end, calls, seen, recipe)


@contextmanager
def _source(model: ModelRef) -> Iterator[tuple[dict[str, Any], str]]:
    """Give where the files are read from: arguments of ``from_pretrained``, and the place in words.

    The files of a local folder are checked before they are read, and that they are still the same after; those of a
    hub after, when they are all in the cache.
    """
    if model.digest is not None:
        with local_folder(model) as folder:
            _check_files(folder, folder, model.variant)
            yield {"pretrained_model_name_or_path": str(folder), "local_files_only": True}, str(folder)
        return
    name = spelled(model)
    check_not_shadowed(name)
    yield {"pretrained_model_name_or_path": name, "revision": model.revision}, str(model)
    from transformers.utils.hub import cached_file

    found = cached_file(name, "config.json", revision=model.revision, local_files_only=True)
    snapshot = Path(str(found)).parent
    _check_files(snapshot, model, model.variant)
    check_cached(snapshot, model, [""])


def _check_files(folder: Path, where: object, variant: str | None) -> None:
    check_files("the configuration", folder, where, CONFIG)
    check_files("the tokenizer", folder, where, FAST_TOKENIZER)
    check_stored(folder, where, variant)


def _read(model: ModelRef, part: str, where: str, loader: Any, source: Mapping[str, Any], **settings: Any) -> Any:
    """Read one part; code that lies in a repository is never run."""
    return _reading(model, part, where, lambda: loader.from_pretrained(**source, trust_remote_code=False, **settings))


def _reading(model: ModelRef, part: str, where: str, load_it: Callable[[], Any]) -> Any:
    """Run something that reads model files, or asks the hub for them."""
    try:
        return reading(part, where, load_it)
    except ModelError as error:
        cause = error.__cause__
        if model.digest is None and isinstance(cause, OSError) and isinstance(cause, READING):
            raise not_found(model, cause) from cause
        raise


def _check_kind(model: ModelRef, where: str, source: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of config.json, of a kind of model that transformers has code for.

    They are looked at before transformers is asked for them: its own errors speak of other causes.
    """
    from transformers import CONFIG_MAPPING, PreTrainedConfig

    settings, _ = _reading(model, "the configuration", where, lambda: PreTrainedConfig.get_config_dict(**source))
    kind = settings.get("model_type") if isinstance(settings, dict) else None
    if isinstance(kind, str) and kind in CONFIG_MAPPING:
        check_counts("the model", where, settings)
        return dict(settings)
    if isinstance(settings, dict) and settings.get("auto_map"):
        raise _needs_code(model, "config.json")
    if not isinstance(kind, str):
        raise ModelError(
            f"config.json of {model} names no kind of model (model_type is {shorten(kind)}); get the file again, or "
            "choose another model"
        )
    version = versions(("transformers",))["transformers"]
    raise ModelError(
        f"{model} is of the kind {shorten(kind)}, which transformers {version} does not know; choose another model, or "
        "a release of transformers that knows it, on all nodes alike"
    )


def _read_tokenizer(model: ModelRef, where: str, source: Mapping[str, Any]) -> Any:
    from transformers import AutoTokenizer
    from transformers.models.auto.tokenization_auto import get_tokenizer_config

    try:
        return _read(model, "the tokenizer", where, AutoTokenizer, source, mistral_format=False)
    except ModelError as error:
        # Many that name code of their own are read without it, and transformers knows which.
        settings = _reading(model, "the tokenizer", where, lambda: get_tokenizer_config(**source))
        if isinstance(settings, dict) and settings.get("auto_map"):
            raise _needs_code(model, "tokenizer_config.json") from error
        raise


def _read_eyes(model: ModelRef, where: str, source: Mapping[str, Any], config: Any, tokenizer: Any) -> Eyes:
    """Read what prepares pictures, and give the tokenizer the chat template that goes with it, where there is one."""
    from transformers import AutoImageProcessor
    from transformers.processing_utils import ProcessorMixin

    images = _read(model, "the image processor", where, AutoImageProcessor, source, backend="pil")
    settings, _ = _reading(model, "the processor", where, lambda: ProcessorMixin.get_processor_dict(**source))
    if settings.get("chat_template") is not None:
        tokenizer.chat_template = settings["chat_template"]
    return eyes(model, config, images, tokenizer)


def _needs_code(model: ModelRef, file: str) -> ModelError:
    return ModelError(
        f"{model} needs code of its own (auto_map in {file}), which is never run here: it could do anything, and other "
        "things on other machines. Choose a model that transformers has code for"
    )


def _check_config(model: ModelRef, config: Any) -> None:
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING

    version = versions(("transformers",))["transformers"]
    known = f"{model} is of the kind {config.model_type!r}, which transformers {version}"
    if config.is_encoder_decoder:
        raise ModelError(f"{model} is an encoder-decoder ({config.model_type}); supported are causal language models")
    sees = config.model_type in FAMILIES
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING and type(config) in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING:
        if not sees:
            raise ModelError(
                f"{known} runs as a vision-language model only; supported of these are {', '.join(FAMILIES)}, and all "
                "causal language models"
            )
    elif type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise ModelError(f"{known} does not have as a causal language model, the only kind that is supported for text")


def _attention(config: Any) -> str:
    """Return transformers' name for the attention to use: torch's own function where the family can use it.

    Its fused kernels need no memory for the scores of all pairs of tokens. The families that cannot use it compute
    attention in another way (a cap on the scores, a bias); transformers has only the formula for them.
    """
    return "sdpa" if _family(config)._supports_sdpa else "eager"


def _family(config: Any) -> Any:
    """Return transformers' class of a model."""
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING

    sees = config.model_type in FAMILIES
    return (MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING if sees else MODEL_FOR_CAUSAL_LM_MAPPING)[type(config)]


def _hollow(family: Any, config: Any) -> Any:
    """Build a model without memory for its weights."""
    with torch.device("meta"):
        return family(copy.deepcopy(config))


def _meaningful(config: Any, tokenizer: Any) -> set[int]:
    """Return the ids with a meaning of their own, as tokenizer and configuration name them: padding, pictures."""
    settings = {**config.to_dict(), **config.get_text_config(decoder=True).to_dict()}
    named = [value for name, value in settings.items() if name.endswith(("_token_id", "_token_index"))]
    return {value for value in (*named, *tokenizer.all_special_ids) if isinstance(value, int)}


def _check_no_adapter(model: ModelRef, where: str, source: Mapping[str, Any]) -> None:
    """Refuse a repository with an adapter, which transformers applies only where another package is installed."""
    from transformers.utils.peft_utils import find_adapter_config_file

    given = {name: value for name, value in source.items() if name != "pretrained_model_name_or_path"}
    name = source["pretrained_model_name_or_path"]
    if reading("the adapter", where, lambda: find_adapter_config_file(name, **given)) is not None:
        raise ModelError(
            f"{model} holds an adapter (adapter_config.json), which is applied only where peft is installed; merge it "
            "into the weights, or remove it"
        )


def _check_tokenizer(model: ModelRef, tokenizer: Any) -> None:
    """Refuse a tokenizer that is not the fast one, or that cuts words at random."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise ModelError(f"{model} has a {type(tokenizer).__name__}; supported are fast tokenizers (tokenizer.json)")
    for name in ("dropout", "alpha"):
        value = getattr(backend.model, name, None)
        if value is not None and not (name == "dropout" and value == 0):
            raise ModelError(f"the tokenizer of {model} cuts words at random ({name} {value:.3g}); set it to null")


def _forget_defaults(loaded: Any, attention: str) -> None:
    """Drop the repository's generation defaults, which leak into every call, and check which attention was taken."""
    from transformers import GenerationConfig

    configuration: Any = GenerationConfig
    loaded.generation_config = configuration()
    found = loaded.config._attn_implementation
    if found != attention:
        raise ModelError(f"the model computes attention by {found!r}, although {attention!r} was asked for")


def _recipe(model: ModelRef, loaded: Any, tokenizer: Any) -> dict[str, Any]:
    """Describe what was loaded, read back from it. The files are pinned by the model's digest or revision."""
    config: Any = loaded.config
    template = tokenizer.chat_template
    return {
        "pipeline": type(loaded).__name__,
        "model": model.to_dict(),
        "config": plain(config.to_diff_dict()),
        "dtypes": dtypes_of(loaded),
        "attention": str(config._attn_implementation),
        "experts": plain(config._experts_implementation),
        "tokenizer": {
            "class": type(tokenizer).__name__,
            "digest": digest_of(tokenizer.backend_tokenizer.to_str()),
            "chat_template": None if template is None else digest_of(canonical_json(plain(template))),
            "special_tokens": plain(tokenizer.special_tokens_map),
        },
        # What upper and lower case are in a chat template, which Python's own tables say.
        "versions": {**versions(_LIBRARIES), "unicode": unicodedata.unidata_version},
    }
