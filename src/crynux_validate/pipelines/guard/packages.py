"""Packages that bring kernels of their own: hidden under the guard where that switches them off, else recorded.

transformers imports some of them wherever they can be imported and then computes with them, without being asked
(``use_kernel_func_from_hub_with_fallback``). docs/guard.md says of each package what becomes of it.
"""

import importlib.metadata
import importlib.util
import inspect
import re
import sys
from collections.abc import Mapping
from typing import Any, Final

from crynux_validate.errors import DeterminismError
from crynux_validate.pipelines.guard.switch import Switch

HIDDEN: Final = ("causal_conv1d", "fla", "mamba_ssm", "xielu")
"""Packages, by the name they are imported as, that cannot be imported under the guard: every use of them in
transformers has a way to do without."""

RECORDED: Final[Mapping[str, tuple[str, ...]]] = {
    "aiter": ("aiter", "amd-aiter"),
    "apex": ("apex",),
    "bitsandbytes": ("bitsandbytes",),
    "cutlass": ("nvidia-cutlass-dsl",),
    "deepspeed": ("deepspeed",),
    "fbgemm_gpu": ("fbgemm-gpu", "fbgemm-gpu-genai"),
    "flash_attn": ("flash-attn", "flash-attn-4"),
    "flash_attn_interface": ("flash-attn-3",),
    "flashinfer": ("flashinfer-python",),
    "intel_extension_for_pytorch": ("intel-extension-for-pytorch",),
    "jinja2": ("jinja2",),
    "kernels": ("kernels",),
    "liger_kernel": ("liger-kernel",),
    "mambapy": ("mambapy",),
    "mistral_common": ("mistral-common",),
    "natten": ("natten",),
    "ninja": ("ninja",),
    "numpy": ("numpy",),
    "PIL": ("pillow",),
    "optimum": ("optimum", "optimum-quanto"),
    "sageattention": ("sageattention",),
    "scipy": ("scipy",),
    "spas_sage_attn": ("spas-sage-attn",),
    "tokenizers": ("tokenizers",),
    "torch_directml": ("torch-directml",),
    "torch_mlu": ("torch-mlu",),
    "torch_musa": ("torch-musa",),
    "torch_npu": ("torch-npu",),
    "torch_xla": ("torch-xla",),
    "torchao": ("torchao",),
    "transformer_engine": ("transformer-engine",),
    "transformers": ("transformers",),
    "triton": ("triton", "triton-rocm", "triton-windows"),
    "tvm_ffi": ("apache-tvm-ffi",),
    "unsloth": ("unsloth",),
    "xformers": ("xformers",),
    "xlstm": ("xlstm",),
}
"""Packages that bring kernels, put them in the place of torch's or of a model's when they are imported, compute a
scheduler's tables (numpy, scipy), make pictures smaller for a safety checker (PIL), or say what a language model
computes on what tokens (transformers, tokenizers, mistral-common, jinja2): by the name they are imported as, with the
names they are distributed under."""

_UNKNOWN: Final = "unknown"
_EXTENSIONS: Final = "torch.backends"
"""The group of entry points that ``import torch`` loads, whatever they do."""


def recorded_packages(*, cuda: bool) -> dict[str, str]:
    """Return the versions of installed packages that can change bits, by distribution; on CUDA also NVIDIA's libraries.

    A package that no distribution belongs to (a folder on the path) is recorded under the name it is imported as, with
    the version ``unknown``.
    """
    wanted = {name for names in RECORDED.values() for name in names}
    found: dict[str, str] = {}
    for distribution in importlib.metadata.distributions():
        name = re.sub(r"[-_.]+", "-", _said(distribution, "Name") or distribution.name or "").lower()
        extends_torch = _EXTENSIONS in (distribution.read_text("entry_points.txt") or "") and any(
            point.group == _EXTENSIONS for point in distribution.entry_points
        )
        # The first on the path is the one that is imported.
        if name in wanted or extends_torch or (cuda and name.startswith("nvidia-")):
            found.setdefault(name, _said(distribution, "Version") or distribution.version)
    for package, names in RECORDED.items():
        if not any(name in found for name in names) and _can_be_imported(package):
            found[package] = _UNKNOWN
    return dict(sorted(found.items()))


def _said(distribution: importlib.metadata.Distribution, field: str) -> str | None:
    """What a distribution says of itself; its metadata hold manuals too, which take a tenth of a second to parse."""
    head = (distribution.read_text("METADATA") or "").partition("\n\n")[0]
    found = re.search(rf"^{field}:[ \t]*(\S+)[ \t]*$", head, re.MULTILINE)
    return None if found is None else found[1]


def _can_be_imported(package: str) -> bool:
    """Whether Python finds a package, without importing it; a folder without a module in it is none."""
    try:
        spec = importlib.util.find_spec(package)
    except ValueError:
        # A module that somebody made by hand has no specification.
        return True
    return spec is not None and spec.origin is not None


def hidden_packages() -> Switch:
    """Return the switch that keeps packages from being imported: each is None in ``sys.modules``.

    Its value is what ``sys.modules`` holds of them.
    """

    def get() -> dict[str, Any]:
        if not any(sys.modules.get(name) for name in HIDDEN):
            return {name: sys.modules[name] for name in HIDDEN if name in sys.modules}
        return {name: module for name, module in list(sys.modules.items()) if name.partition(".")[0] in HIDDEN}

    def set_(value: dict[str, Any]) -> None:
        for name in get():
            del sys.modules[name]
        sys.modules.update(value)

    return Switch("hidden_packages", get, set_, dict.fromkeys(HIDDEN), sorted)


_IMPLEMENTATION: Final = ("implementation", "applicable_params", "is_new_implementation")
"""What a function that transformers wraps holds of the package's function in place of its own."""


def model_kernels() -> Switch:
    """Return the switch for models that were imported outside of the guard, and found a package then.

    transformers decides when a model's module is imported, and keeps what it found in the closure of a function. The
    value of the switch is a list of such functions with what they hold; under the guard they hold transformers' own.
    """

    def get() -> list[tuple[Any, tuple[Any, ...]]]:
        # Only a package that is really loaded can have been found.
        if not any(sys.modules.get(name) for name in HIDDEN):
            return []
        held = [(function, _held(function)) for function in _wrapped_functions()]
        return [(function, value) for function, value in held if value[-1]]

    def set_(value: list[tuple[Any, tuple[Any, ...]]]) -> None:
        for function, _ in get():
            own = function.__wrapped__
            _hold(function, (own, tuple(inspect.signature(own).parameters), False))
        for function, held in value:
            _hold(function, held)

    def show(value: list[tuple[Any, tuple[Any, ...]]]) -> list[str]:
        return sorted(f"{function.__module__}.{function.__name__}" for function, _ in value)

    return Switch("model_kernels", get, set_, [], show)


def _wrapped_functions() -> list[Any]:
    """Every function of a model of transformers that is loaded, that could have a package's function inside."""
    found: dict[int, Any] = {}
    for name, module in list(sys.modules.items()):
        if name.startswith("transformers.models.") and module is not None:
            for value in list(vars(module).values()):
                if inspect.isfunction(value) and hasattr(value, "__wrapped__"):
                    names = value.__code__.co_freevars
                    if "is_new_implementation" in names:
                        found[id(value)] = value
    return list(found.values())


def _cells(function: Any) -> dict[str, Any]:
    cells = dict(zip(function.__code__.co_freevars, function.__closure__, strict=True))
    missing = [name for name in _IMPLEMENTATION if name not in cells]
    if missing:
        raise DeterminismError(
            f"{function.__module__}.{function.__name__} may compute with the kernels of a package, which cannot be "
            f"switched off in this version of transformers ({', '.join(missing)} not found). Uninstall "
            f"{', '.join(HIDDEN)}, or run the task in a process that has not imported this model"
        )
    return cells


def _held(function: Any) -> tuple[Any, ...]:
    cells = _cells(function)
    return tuple(cells[name].cell_contents for name in _IMPLEMENTATION)


def _hold(function: Any, value: tuple[Any, ...]) -> None:
    cells = _cells(function)
    for name, content in zip(_IMPLEMENTATION, value, strict=True):
        cells[name].cell_contents = content
