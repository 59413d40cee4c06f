"""Whether files hold the weights that a configuration asks for: known from their headers, before memory is taken.

Libraries build a model of whatever size its configuration names, and fill what no file holds with random numbers. So a
configuration of a few bytes could take all memory of a machine.
"""

import hashlib
import json
import math
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from torch import nn
from torch.nn.modules import module as hooks

from crynux_validate.encoding import shorten
from crynux_validate.errors import ModelError
from crynux_validate.pipelines.models.files import read_object
from crynux_validate.pipelines.models.loading import reading

_STEMS: Final = ("model", "diffusion_pytorch_model")

_COUNTS: Final = re.compile(r"layer|depth|block|label|attention_types")
"""Settings that are counts, as soon as they are large: libraries make lists as long as these say."""

_MOST: Final = 100_000
"""The largest such count; the largest in use are labels of pictures, 21,843."""

_PER_WEIGHT: Final = 8
_SPARE: Final = 5_000
"""How many modules, parameters and buffers a network may have: so many for each weight in its files, and these.

Of 157 families of language models, none has more than 6 for each, and most have 2."""

_BESIDE: Final = 1 << 30
"""How many bytes a network may have in numbers that no file holds, such as tables of positions."""


@dataclass(frozen=True)
class Held:
    """What safetensors files hold.

    Parameters
    ----------
    shapes
        By the names of weights.
    values
        How many numbers these are; a byte of integers holds two of 4 bits.
    """

    shapes: Mapping[str, tuple[int, ...]]
    values: int


def weight_files(folder: Path, variant: str | None) -> list[Path]:
    """Return the files of a folder that a library may take a network's weights from."""
    found = set()
    for stem in _STEMS:
        whole = ".".join(filter(None, (stem, variant, "safetensors")))
        found.add(whole)
        for index in folder.glob(f"{stem}*.safetensors.index*.json"):
            if index.name == f"{stem}.safetensors.index.json" if variant is None else f".{variant}." in index.name:
                shards = read_object(index).get("weight_map")
                found |= set(map(str, shards.values())) if isinstance(shards, dict) else set()
    return sorted(folder / name for name in found if (folder / name).is_file())


def held(part: str, where: object, files: Sequence[Path]) -> Held:
    """Read the headers of safetensors files, which are checked against the files' sizes; raises `ModelError`."""
    from safetensors import safe_open

    shapes: dict[str, tuple[int, ...]] = {}
    values = 0

    def read(file: Path) -> None:
        nonlocal values
        with safe_open(file, "pt") as opened:
            for name in opened.keys():  # noqa: SIM118 - no dictionary
                entry = opened.get_slice(name)
                values += 0 if name in shapes else math.prod(entry.get_shape()) * (1 + (entry.get_dtype() == "U8"))
                shapes[name] = tuple(entry.get_shape())

    for file in files:
        reading(part, where, lambda file=file: read(file))  # type: ignore[misc]
    return Held(shapes, values)


def check_counts(part: str, where: object, settings: Any, name: str = "") -> None:
    """Refuse a configuration whose lists would fill the memory, before a library makes one of it.

    Parameters
    ----------
    part, where
        What it is of, for messages.
    settings
        JSON values.
    name
        The setting that they are of.

    Raises
    ------
    ModelError
        Names the setting.
    """
    if isinstance(settings, dict):
        for key, value in settings.items():
            check_counts(part, where, value, f"{name}.{key}".lstrip("."))
    elif isinstance(settings, list):
        for value in settings:
            check_counts(part, where, value, name)
    elif isinstance(settings, int) and settings > _MOST and _COUNTS.search(name):
        raise ModelError(
            f"{part} in {where}: config.json has {shorten(name)} {shorten(settings)}, which is no number of layers or "
            f"labels (at most {_MOST}); get it again"
        )


_fitting: set[bytes] = set()
"""Digests of classes, configurations and headers that were found right in this process."""


def check_weights(
    part: str, where: object, settings: Mapping[str, Any], found: Held, kind: type, build: Callable[[], nn.Module]
) -> None:
    """Refuse files that hold less than their configuration asks for; no weights are read for that.

    Names cannot be compared for all, since libraries rename, join and split weights of older files. So numbers of
    values are; whether each weight is there is seen when they are loaded.

    Parameters
    ----------
    part, where
        What it is, for messages.
    settings
        The configuration, JSON values.
    found
        What the files hold; nothing where there are none, which the library then says.
    kind
        The network's class.
    build
        Makes the network of its configuration, on the meta device.

    Raises
    ------
    ModelError
        Names the first weight that is missing, or has another size.
    """
    if not found.shapes:
        return
    known = [f"{kind.__module__}.{kind.__qualname__}", settings, sorted(found.shapes.items())]
    digest = hashlib.sha256(json.dumps(known, sort_keys=True, default=str).encode()).digest()
    if digest not in _fitting:
        with bounded(part, where, len(found.shapes)):
            skeleton = reading(part, where, build)
        check_fits(part, where, skeleton, found)
        _fitting.add(digest)


@contextmanager
def bounded(part: str, where: object, weights: int) -> Iterator[None]:
    """Stop the building of a network that has far more parts than its files have weights; raises `ModelError`."""
    thread, most, made = threading.get_ident(), _PER_WEIGHT * weights + _SPARE, 0

    def count(*_: object) -> None:
        nonlocal made
        made += threading.get_ident() == thread
        if made > most:
            raise ModelError(
                f"{part} in {where}: config.json asks for more than {most} layers and weights, and the files hold "
                f"{weights} weights; they are of different models: get both again"
            )

    library: Any = hooks
    handles = [
        library.register_module_module_registration_hook(count),
        library.register_module_parameter_registration_hook(count),
        library.register_module_buffer_registration_hook(count),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def check_fits(part: str, where: object, skeleton: Any, found: Held) -> None:
    """Refuse files that hold less than a network needs; it has no memory for its weights yet. Raises `ModelError`."""
    if hasattr(skeleton, "tie_weights"):
        skeleton.tie_weights()
    made_anew = [re.compile(pattern) for pattern in getattr(skeleton, "_keys_to_ignore_on_load_missing", None) or ()]
    asked = 0
    beside = sum(buffer.numel() * buffer.element_size() for buffer in skeleton.buffers())
    first = None
    for name, weight in skeleton.named_parameters():  # a tied weight has one name
        shape = tuple(weight.shape)
        there = found.shapes.get(name)
        if there is None and any(pattern.search(name) for pattern in made_anew):
            beside += weight.numel() * weight.element_size()
            continue
        asked += weight.numel()
        if there != shape and first is None:
            held_as = "is missing" if there is None else f"is {list(there)} there"
            first = f"{shorten(name)} of shape {list(shape)}, which {held_as}"
    if asked > found.values:
        raise ModelError(
            f"{part} in {where}: config.json asks for {asked} weights, and the files hold {found.values}; the first "
            f"that does not fit is {first}. Get both again"
        )
    if beside > _BESIDE:
        raise ModelError(
            f"{part} in {where}: config.json asks for {beside} bytes that no file holds (tables of positions, for "
            f"example); supported are {_BESIDE}: get it again, or choose another model"
        )
