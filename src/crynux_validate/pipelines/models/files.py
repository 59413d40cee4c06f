"""Which files loading reads: all that a component needs are there, and none that its digest or commit does not pin.

Libraries look for many files, do without most of them, and go where some tell them to. A tokenizer without its
vocabulary reads every prompt alike; an index may name weights in another folder, or in a dot-file, which no digest
covers.
"""

import json
import re
import unicodedata
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from crynux_validate.encoding import shorten
from crynux_validate.errors import ModelError

Alternatives = tuple[tuple[str, ...], ...]
"""Files of which one tuple must be there, all of it."""

TOKENIZER: Final[Sequence[Alternatives]] = (
    (("tokenizer_config.json",),),
    (("tokenizer.json",), ("vocab.json", "merges.txt")),
)
"""What a tokenizer of byte pairs needs: those of CLIP and Qwen."""

FAST_TOKENIZER: Final[Sequence[Alternatives]] = ((("tokenizer.json",),), (("tokenizer_config.json",),))
"""What a language model's tokenizer needs."""

CONFIG: Final[Sequence[Alternatives]] = ((("config.json",),),)
"""What a network needs besides its weights, which are checked one by one."""

PREPROCESSOR: Final[Sequence[Alternatives]] = ((("preprocessor_config.json",),),)

_READ: Final = (
    "adapter_config.json", "added_tokens.json", "chat_template.jinja", "chat_template.json", "config.json",
    "generation_config.json", "merges.txt", "preprocessor_config.json", "processor_config.json",
    "special_tokens_map.json", "tokenizer.json", "tokenizer_config.json", "vocab.json",
)  # fmt: skip
"""Files besides weights that libraries look for."""

_WEIGHTS: Final = re.compile(r"(model|diffusion_pytorch_model)(\..+)?\.safetensors(\.index(\..+)?\.json)?")
_INDEX: Final = re.compile(r".+\.safetensors\.index(\..+)?\.json")
_DISTRIBUTED: Final = re.compile(r"shard-\d{5}-model-\d{5}-of-\d{5}\.safetensors")
_TEMPLATES: Final = "additional_chat_templates"

_POINTERS: Final[Mapping[str, tuple[str, ...]]] = {
    "config.json": ("configuration_files", "transformers_weights"),
    "tokenizer_config.json": (
        "fast_tokenizer_files", "gguf_file", "init_inputs", "merges", "tokenizer_object", "vocab",
    ),
}  # fmt: skip
"""Settings that make libraries open other files than those of the usual names."""


def check_files(part: str, folder: Path, where: object, needed: Iterable[Alternatives]) -> None:
    """Check the files of one component, before it is loaded.

    Parameters
    ----------
    part
        What it is, for messages.
    folder
        Where its files lie.
    where
        The same for people: the folder, or a hub's repository.
    needed
        What must be there.

    Raises
    ------
    ModelError
        Where a file is missing, or one tells libraries to load something else.
    """
    names = {file.name for file in folder.iterdir() if file.is_file()} if folder.is_dir() else set()
    for alternatives in needed:
        if not any(names.issuperset(files) for files in alternatives):
            files = " or ".join(" with ".join(files) for files in alternatives)
            raise ModelError(f"{part} in {where} cannot be loaded: {files} is not there. Get the whole model again")
    for name in sorted(names):
        _check_name(part, folder / name)
    if (folder / _TEMPLATES).is_dir():
        for file in (folder / _TEMPLATES).iterdir():
            if file.name.startswith("."):
                raise ModelError(f"{file} would be loaded, but no digest covers dot-files; remove or rename it")
    for name, keys in _POINTERS.items():
        settings = read_object(folder / name) if name in names else {}
        for key in keys:
            if settings.get(key) not in (None, []):
                raise ModelError(f"{folder / name}: {key} tells libraries to load other files; remove it")
    for name in sorted(filter(_INDEX.fullmatch, names)):
        _check_index(folder / name, names)


def _check_name(part: str, file: Path) -> None:
    """Refuse names that mean something to libraries, or would on another machine."""
    usual = unicodedata.normalize("NFKC", file.name).casefold()
    if usual != file.name and (usual in _READ or _WEIGHTS.fullmatch(usual)):
        raise ModelError(f"{file}: some machines would load it as {usual}, others would not; rename it")
    if file.name == "adapter_config.json":
        raise ModelError(
            f"{part}: {file.parent} holds an adapter (adapter_config.json), which is applied only where peft is "
            "installed; merge it into the weights, or remove it"
        )
    if _DISTRIBUTED.fullmatch(file.name):
        raise ModelError(f"{file} is of a distributed checkpoint, which is loaded before others; remove it")


def _check_index(index: Path, names: set[str]) -> None:
    shards = read_object(index).get("weight_map")
    if not isinstance(shards, dict):
        raise ModelError(f"{index} has no weight_map; get it again")
    for shard in sorted(set(map(str, shards.values()))):
        if shard.startswith(".") or shard not in names:
            raise ModelError(f"{index} names the file {shard!r}, which is not one of those beside it; get both again")


SMALL: Final = ("fp8", "mxfp4")
"""Ways to store weights in fewer than 16 bits that are supported, as ``quant_method`` in config.json names them."""


def check_stored(folder: Path, where: object, variant: str | None) -> None:
    """Refuse weights of fewer than 16 bits, which libraries would read as numbers, without their scales.

    Where config.json names a way to store them, whoever reads them looks at each, or refuses all by that name.

    Raises
    ------
    ModelError
        Names the file, a weight, and how it is stored. What cannot be read is left to the library.
    """
    if isinstance(read_object(folder / "config.json").get("quantization_config"), dict):
        return
    stem = "model" if variant is None else f"model.{variant}"
    index = read_object(folder / f"model.safetensors.index{'' if variant is None else f'.{variant}'}.json")
    shards = index.get("weight_map")
    named = set(map(str, shards.values())) if isinstance(shards, dict) else set()
    for file in sorted(folder / name for name in {f"{stem}.safetensors", *named}):
        for name, stored in _stored(file).items():
            if stored not in _WHOLE and (stored.startswith("F") or name.endswith((".weight", ".bias"))):
                raise ModelError(
                    f"{file.name} of {where} stores {shorten(name)} as {stored}; expected weights of "
                    f"{', '.join(_WHOLE)}: name a checkpoint in bfloat16, and for fewer bits quantize_bits in the task"
                )


_WHOLE: Final = ("F64", "F32", "F16", "BF16")
"""How safetensors files call the types whose values are the weights themselves."""


def _stored(file: Path) -> dict[str, str]:
    """Return how each tensor of a safetensors file is stored, by its header alone; nothing where that is damaged."""
    try:
        with file.open("rb") as opened:
            size = int.from_bytes(opened.read(8), "little")
            header = json.loads(opened.read(size)) if size < file.stat().st_size else {}
    except (OSError, ValueError, RecursionError):
        return {}
    entries = header.items() if isinstance(header, dict) else ()
    return {name: str(entry.get("dtype")) for name, entry in entries if isinstance(entry, dict) and "dtype" in entry}


def read_object(file: Path) -> dict[str, Any]:
    """Read a JSON object; nothing where it cannot be read, which the library then says."""
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def check_cached(snapshot: Path, model: object, parts: Iterable[str]) -> None:
    """Check that a hub's cache holds every file of a repository that libraries look for, where it has the list.

    A cache may hold a part of a repository: a download was interrupted, or somebody asked for one file only. Libraries
    take what is not there for not existing.

    Parameters
    ----------
    snapshot
        The folder of a commit in the cache.
    model
        The repository, for messages.
    parts
        Folders in the repository; an empty name for its root.

    Raises
    ------
    ModelError
        Names the file.
    """
    listed = listed_files(snapshot) or ()
    for name in (f"{part}/{name}".lstrip("/") for part in parts for name in _READ):
        if name in listed and not (snapshot / name).is_file():
            raise ModelError(
                f"the local cache does not hold {name} of {model}; load the model once with a connection (without "
                "HF_HUB_OFFLINE)"
            )


def listed_files(snapshot: Path) -> Collection[str] | None:
    """Return the names of all files of a commit, where a hub's cache has the list: it comes with a whole download."""
    listed = read_object(snapshot.parent.parent / "trees" / f"{snapshot.name}.json").get("files")
    return listed if isinstance(listed, dict) else None
