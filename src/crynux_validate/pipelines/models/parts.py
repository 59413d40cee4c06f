"""Where the parts lie that a task loads beside its model: a checked local folder, or the hub's cache, filled."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch

from crynux_validate.encoding import shorten
from crynux_validate.errors import ModelError
from crynux_validate.pipelines.models.files import read_object
from crynux_validate.pipelines.models.hub_names import spelled
from crynux_validate.pipelines.models.loading import (
    READING,
    check_not_shadowed,
    first_line,
    local_folder,
    not_found,
    reading,
)
from crynux_validate.tasks import ModelRef
from crynux_validate.tasks.parts import Part

_WEIGHTS: Final = "diffusion_pytorch_model"


@dataclass(frozen=True)
class PartFile:
    """A safetensors file that was read.

    Parameters
    ----------
    tensors
        By their names.
    metadata
        What the file says of itself.
    sha256
        Of its bytes.
    """

    tensors: Mapping[str, torch.Tensor]
    metadata: Mapping[str, str]
    sha256: str


def read_part(name: str, part: Part) -> PartFile:
    """Read the file of a part.

    Parameters
    ----------
    name
        The task's field, for messages.
    part
        Where it lies.

    Raises
    ------
    ModelError
        Where the file is not there, not what the task names, or no safetensors file.
    """
    from safetensors.torch import load

    with part_folder(name, part.model, [part.file]) as folder:
        file = folder / part.file
        try:
            data = file.read_bytes()
        except OSError as error:
            raise ModelError(f"{name}: {file} cannot be read: {error.strerror or error}") from error
        tensors = reading(name, file, lambda: load(data))
        return PartFile(tensors, _metadata(data), hashlib.sha256(data).hexdigest())


@contextmanager
def part_folder(name: str, model: ModelRef, files: Sequence[str]) -> Iterator[Path]:
    """Give the folder in which some files of a part lie.

    Parameters
    ----------
    name
        The task's field, for messages.
    model
        The repository, or the local folder by its digest.
    files
        Those that must be there.

    Raises
    ------
    ModelError
        Where one is not there, or the folder is not what `model` names or changes meanwhile.
    """
    if model.digest is None:
        yield _cached(name, model, files)
        return
    try:
        with local_folder(model) as folder:
            for file in files:
                if not (folder / file).is_file():
                    names = sorted(each.name for each in folder.iterdir() if each.name[:1] != "." and each.is_file())
                    there = ", ".join(names[:3]) or "no files"
                    raise ModelError(f"{folder} has no file {shorten(file)}, but {there}")
            yield folder
    except ModelError as error:
        raise error if str(error).startswith(name) else ModelError(f"{name}: {error}") from error


@contextmanager
def network_folder(name: str, model: ModelRef) -> Iterator[Path]:
    """Give the folder of a network that is named alone: its configuration, and its weights in one file or in several.

    Errors as `part_folder`.
    """
    whole = ".".join(filter(None, (_WEIGHTS, model.variant, "safetensors")))
    index = ".".join(filter(None, (f"{_WEIGHTS}.safetensors.index", model.variant, "json")))
    with ExitStack() as stack:
        try:  # first, as libraries look for it first
            folder = stack.enter_context(part_folder(name, model, ["config.json", index]))
        except ModelError:
            several = False
        else:
            several = True
        if not several:
            folder = stack.enter_context(part_folder(name, model, ["config.json", whole]))
        elif model.digest is None:
            shards = read_object(folder / index).get("weight_map")
            names = set(map(str, shards.values())) if isinstance(shards, dict) else set()
            # Files elsewhere are refused when it is loaded.
            _cached(name, model, sorted(each for each in names if "/" not in each))
        yield folder


def _cached(name: str, model: ModelRef, files: Sequence[str]) -> Path:
    """Return the folder of a commit in the hub's cache, which holds these files then."""
    from transformers.utils.hub import cached_file

    found = spelled(model)
    check_not_shadowed(found)
    at = Path()
    for file in files:
        try:
            at = Path(str(cached_file(found, file, revision=model.revision)))
        except READING as error:
            raise ModelError(f"{name}: {file} of {first_line(not_found(model, error))}") from error
        for _ in file.split("/"):
            at = at.parent
    return at


def _metadata(data: bytes) -> dict[str, str]:
    """Read what a safetensors file, which was found right, says of itself."""
    size = int.from_bytes(data[:8], "little")
    header: dict[str, Any] = json.loads(data[8 : 8 + size])
    found: dict[str, str] = header.get("__metadata__") or {}
    return found
