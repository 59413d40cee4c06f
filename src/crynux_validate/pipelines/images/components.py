"""Loading one component of a pipeline: the model's own, or another that a task names in its place."""

import inspect
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from crynux_validate.encoding import shorten
from crynux_validate.errors import ModelError
from crynux_validate.pipelines.images.families import Family
from crynux_validate.pipelines.images.loras import Update, add
from crynux_validate.pipelines.models.files import CONFIG, FAST_TOKENIZER, TOKENIZER, check_files, read_object
from crynux_validate.pipelines.models.loading import DTYPES, check_complete, own_memory, reading
from crynux_validate.pipelines.models.parts import network_folder
from crynux_validate.pipelines.models.weights import check_counts, check_weights, held, weight_files
from crynux_validate.tasks import Dtype
from crynux_validate.tasks.parts import COMPONENTS, Parts


@dataclass(frozen=True)
class Source:
    """Where the files of a component lie.

    Parameters
    ----------
    folder
        The folder that holds them.
    where
        The same for people.
    variant
        Of its weights.
    """

    folder: Path
    where: object
    variant: str | None


@contextmanager
def other_components(beside: Parts) -> Iterator[dict[str, Source]]:
    """Give where the components lie that a task names in place of the model's own, and the ControlNet beside them.

    Raises
    ------
    ModelError
        As `network_folder`.
    """
    with ExitStack() as stack:
        found = {}
        for part in (*COMPONENTS, "controlnet"):
            model = getattr(beside, part)
            if model is not None:
                folder = stack.enter_context(network_folder(part, model))
                found[part] = Source(folder, f"{part} {model}", model.variant)
        yield found


def check_components(family: Family, own: Mapping[str, Source], others: Mapping[str, Source]) -> None:
    """Refuse components that cannot take the place of the model's own; no weights are read for that."""
    for part, source in others.items():
        _, class_name = family.components[part]
        found = read_object(source.folder / "config.json").get("_class_name")
        if found != class_name:
            raise ModelError(
                f"{source.where} is a {shorten(found)}; expected {class_name}: name the folder "
                "or repository of that component alone"
            )
        check_equal(family.replaceable[part], (source, class_name), (own[part], class_name))


def check_equal(names: Collection[str], one: tuple[Source, str], other: tuple[Source, str]) -> None:
    """Refuse a network whose configuration differs from another's in some settings.

    Parameters
    ----------
    names
        The settings.
    one, other
        Each with its class in diffusers, whose default a setting has that a configuration leaves out.

    Raises
    ------
    ModelError
        Names `one`, and the setting.
    """
    found, needed = (_settings(names, *each) for each in (one, other))
    for name in names:
        if found[name] != needed[name]:
            raise ModelError(
                f"{one[0].where} was made for another model: its {name} is {shorten(found[name])}, and this model "
                f"needs {shorten(needed[name])}"
            )


def _settings(names: Collection[str], source: Source, class_name: str) -> dict[str, Any]:
    config = read_object(source.folder / "config.json")
    known = inspect.signature(loader_of("diffusers", class_name).__init__).parameters
    return {name: _listed(config.get(name, known[name].default)) for name in names}


def _listed(value: Any) -> Any:
    """JSON has no tuples."""
    return list(value) if isinstance(value, tuple) else value


def skeletons(components: Mapping[str, tuple[str, str]], sources: Mapping[str, Source]) -> dict[str, nn.Module]:
    """Build the networks of a pipeline from their configurations, without memory for their weights."""
    found = {}
    for part, (library, class_name) in components.items():
        if not part.startswith(("vae", "tokenizer")):
            source, loader = sources[part], loader_of(library, class_name)
            check_files(part, source.folder, source.where, CONFIG)
            found[part] = reading(part, source.where, partial(_skeleton, loader, source.folder))
    return found


def check_held(part: str, loader: Any, source: Source) -> None:
    """Refuse a network whose files do not hold what its configuration asks for; raises `ModelError`."""
    check_files(part, source.folder, source.where, CONFIG)
    settings = read_object(source.folder / "config.json")
    if "quantization_config" in settings:
        raise ModelError(
            f"{part} in {source.where} holds quantized weights; supported are float32, float16 and bfloat16"
        )
    check_counts(part, source.where, settings)
    found = held(part, source.where, weight_files(source.folder, source.variant))
    check_weights(part, source.where, settings, found, loader, partial(_skeleton, loader, source.folder))


def _skeleton(loader: Any, folder: Path) -> nn.Module:
    with torch.device("meta"):
        if hasattr(loader, "load_config"):
            found: nn.Module = loader.from_config(loader.load_config(folder))
        else:
            found = loader(loader.config_class.from_pretrained(folder))
    return found


def loader_of(library: str, class_name: str) -> Any:
    """Return the class of a component."""
    import diffusers
    import transformers

    return getattr({"diffusers": diffusers, "transformers": transformers}[library], class_name)


def load_component(
    part: str,
    library: str,
    class_name: str,
    source: Source,
    dtype: Dtype,
    device: torch.device,
    updates: Sequence[Update] = (),
) -> Any:
    """Load one component, and refuse it where a weight is missing or of another shape."""
    loader = loader_of(library, class_name)
    if part.startswith("tokenizer"):
        needed = FAST_TOKENIZER if loader.__name__ == "T5Tokenizer" else TOKENIZER
        check_files(part, source.folder, source.where, needed)
        return reading(part, source.where, lambda: loader.from_pretrained(source.folder, local_files_only=True))
    return load_weights(loader, part, source, dtype, device, eager=library == "transformers", updates=updates)


def load_weights(
    loader: Any,
    part: str,
    source: Source,
    dtype: Dtype,
    device: torch.device,
    *,
    eager: bool,
    updates: Sequence[Update] = (),
) -> Any:
    """Load a network, add to its weights what LoRAs add, and bring it to its device."""
    settings: dict[str, Any] = {"attn_implementation": "eager"} if eager else {}
    loaded, info = reading(
        part,
        source.where,
        lambda: loader.from_pretrained(
            source.folder,
            dtype=DTYPES[dtype],
            variant=source.variant,
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
            **settings,
        ),
    )
    check_complete(part, source.where, info)
    add(loaded, updates)
    # Moving a network, if only to where it is, takes diffusers a tenth of the time that loading takes.
    return reading(
        part, source.where, lambda: own_memory((loaded if device.type == "cpu" else loaded.to(device)).eval())
    )
