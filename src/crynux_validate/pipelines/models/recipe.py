"""The recipe of an environment: what was loaded, read back after loading."""

import functools
import hashlib
import importlib.metadata
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from crynux_validate.tasks import ModelRef, folder_digest


def recipe_of(pipeline: Any, parts: Mapping[str, Any], model: ModelRef, folder: Path) -> dict[str, Any]:
    """Describe what was loaded, read back from it. The files are pinned by the model's digest or revision."""
    components: dict[str, Any] = {}
    for part, loaded in sorted(parts.items()):
        record: dict[str, Any] = {"class": type(loaded).__name__}
        if isinstance(loaded, torch.nn.Module):
            config: Any = loaded.config
            # diffusers' configurations are dictionaries, transformers' are objects.
            record["config"] = plain(config if isinstance(config, Mapping) else config.to_diff_dict())
            record["dtypes"] = dtypes_of(loaded)
            record["attention"] = _attention(loaded)
        else:
            record["files"] = folder_digest(folder / part)
        components[part] = record
    vae = pipeline.vae
    return {
        "pipeline": type(pipeline).__name__,
        "model": model.to_dict(),
        "components": components,
        "vae": {
            "slicing": bool(vae.use_slicing),
            "tiling": bool(vae.use_tiling),
            "upcast": bool(getattr(vae.config, "force_upcast", False)),
            "scaling": plain(getattr(vae.config, "scaling_factor", None)),
        },
        "batch": 1,
        "noise": "philox4x32-10",
        "versions": versions(("diffusers", "safetensors", "transformers")),
    }


@dataclass
class TextRan:
    """What ran for a text task, read back while it did.

    Parameters
    ----------
    sampler
        How tokens were chosen.
    batch
        How many sequences were computed together.
    kernels
        Which of torch's kernels computed attention; none where the model does not use torch's own function.
    state
        The class of what the model kept between tokens, and those of its layers.
    seen
        SHA-256 of the pictures as the model was given them; None where there were none.
    """

    sampler: str
    batch: int
    kernels: set[str] = field(default_factory=set)
    state: Sequence[str] = ()
    seen: str | None = None

    def see(self, beside: Mapping[str, torch.Tensor]) -> None:
        """Read what a model is given beside its tokens."""
        if beside:
            values = [name.encode() + tensor.numpy().tobytes() for name, tensor in sorted(beside.items())]
            self.seen = digest_of(b"".join(values))

    def keep(self, state: Any) -> None:
        """Read what a model kept."""
        self.state = [type(state).__name__, *sorted({type(layer).__name__ for layer in getattr(state, "layers", ())})]

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        found: dict[str, Any] = {"sampler": self.sampler, "batch": self.batch, "kernels": sorted(self.kernels)}
        found["seen"] = self.seen
        return {**found, "state": list(self.state)}


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Return the versions of some packages, as they were installed when they were first asked for."""
    return {name: _version(name) for name in packages}


_version = functools.cache(importlib.metadata.version)
"""Reading it takes milliseconds, and what a process has imported does not change."""


def dtypes_of(module: torch.nn.Module) -> list[str]:
    """Return what floating-point types a module's tensors have."""
    tensors = [*module.parameters(), *module.buffers()]
    return sorted({str(tensor.dtype) for tensor in tensors if tensor.is_floating_point()})


def digest_of(content: str | bytes) -> str:
    """Return the SHA-256 of something that is too long for a recipe."""
    return hashlib.sha256(content.encode("utf-8") if isinstance(content, str) else content).hexdigest()


def _attention(module: Any) -> list[str]:
    """How attention is computed: diffusers' processors, or the implementation that transformers names."""
    processors = getattr(module, "attn_processors", None)
    if processors is not None:
        return sorted({type(processor).__name__ for processor in processors.values()})
    if isinstance(module.config, Mapping):
        return sorted({type(part.processor).__name__ for part in module.modules() if hasattr(part, "processor")})
    return [str(module.config._attn_implementation)]


def plain(value: Any) -> Any:
    """Turn a configuration into JSON values; entries that start with "_" say where it came from, and are left out."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items() if not str(key).startswith("_")}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    return str(value)
