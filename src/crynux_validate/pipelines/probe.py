"""What this machine is: the two parts of an environment that are known before a model is loaded."""

import importlib.metadata
import os
import platform
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from crynux_validate.errors import InvalidInputError, PipelineError
from crynux_validate.machines.environment import Environment
from crynux_validate.pipelines.determinism import numerics
from crynux_validate.pipelines.process import RECORDED_CPU, RECORDED_CUDA, prepare_process, require

if TYPE_CHECKING:
    import torch

require("torch")

_KERNEL_PACKAGES: Final = (
    "apache-tvm-ffi", "apex", "bitsandbytes", "flash-attn", "flash-attn-3", "flashinfer-python", "kernels", "numpy",
    "nvidia-cutlass-dsl", "sageattention", "torchao", "triton", "triton-rocm", "triton-windows", "xformers",
)  # fmt: skip
"""Distributions that bring kernels of their own, or (numpy) compute a scheduler's tables."""

_DRIVER: Final = Path("/proc/driver/nvidia/version")
_COUNTS: Final = ("num_logical_cores", "num_physical_cores", "num_sockets")


def local_environment(device: "str | torch.device | None" = None) -> Environment:
    """Read what decides the bits that this machine computes, without loading a model.

    Parameters
    ----------
    device
        ``cpu``, ``cuda``, ``cuda:1``, ``mps``; by default the first that is there of cuda, mps, cpu.

    Returns
    -------
    Environment
        With a kernel record (accelerator, driver, libraries; on a CPU its instruction sets) and a numerics record
        (every switch of the guard, read back), and no recipe.

    Raises
    ------
    InvalidInputError
        For what is no device.
    PipelineError
        For a device that is not there.
    DeterminismError
        Where the guard cannot be entered.
    """
    return Environment(kernel(device), numerics())


def default_device() -> str:
    """Return the kind of device that is used where none is named: cuda, then mps, then cpu."""
    prepare_process()
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def find_device(device: "str | torch.device | None" = None) -> "torch.device":
    """Return the device that a caller means; parameters and errors as in `local_environment`."""
    # Before CUDA starts: asking for a device's properties is the first thing that starts it.
    prepare_process()
    import torch

    try:
        found = torch.device(default_device() if device is None else device)
    except (RuntimeError, TypeError) as error:
        raise InvalidInputError(f"{device!r} is no device; expected cpu, cuda, cuda:<number> or mps") from error
    if found.type == "cpu":
        return torch.device("cpu")
    if found.type == "mps" and torch.backends.mps.is_available():
        return torch.device("mps")
    if found.type == "cuda":
        index, count = found.index or 0, torch.cuda.device_count()
        if index < count:
            return torch.device("cuda", index)
        raise PipelineError(f"the device {found} is not there: torch {torch.__version__} finds {count} CUDA devices")
    if found.type == "mps":
        raise PipelineError(f"the device {found} is not there: torch {torch.__version__} finds no Metal device")
    raise InvalidInputError(f"{str(found)!r} is not supported; expected cpu, cuda, cuda:<number> or mps")


def kernel(device: "str | torch.device | None" = None) -> dict[str, Any]:
    """Return the record of what decides which kernels run; parameters and errors as in `local_environment`."""
    import torch

    found = find_device(device)
    cudnn: Any = torch.backends.cudnn
    record: dict[str, Any] = {
        "device": found.type,
        "accelerator": None,
        "processor": None,
        "system": platform.system(),
        "machine": platform.machine(),
        "torch": {
            "version": torch.__version__,
            "git": torch.version.git_version,
            "cuda": torch.version.cuda,
            "hip": torch.version.hip,
            "cudnn": cudnn.version() if found.type == "cuda" else None,
            "build": _build(torch.__config__.show()),
        },
        "packages": _packages(found.type == "cuda"),
    }
    if found.type == "cpu":
        record["processor"] = _processor()
    else:
        record["accelerator"] = _cuda(found) if found.type == "cuda" else _metal()
    recorded = {"cpu": RECORDED_CPU, "cuda": RECORDED_CUDA}.get(found.type, ())
    record["variables"] = {name: os.environ[name] for name in recorded if name in os.environ}
    return record


def _build(text: str) -> str:
    """The build configuration without the line about this processor, which is recorded where it matters."""
    return "\n".join(line for line in text.splitlines() if "CPU capability usage" not in line).strip()


def _packages(cuda: bool) -> dict[str, str]:
    """Versions of the installed distributions that bring kernels; on CUDA also of NVIDIA's libraries."""
    found = {}
    for distribution in importlib.metadata.distributions():
        name = re.sub(r"[-_.]+", "-", distribution.name or "").lower()
        if name in _KERNEL_PACKAGES or (cuda and name.startswith("nvidia-")):
            found[name] = distribution.version
    return dict(sorted(found.items()))


def _processor() -> dict[str, Any]:
    """The processor, and the instruction sets that torch uses of it."""
    import torch

    known = dict(torch.cpu.get_capabilities())
    return {
        "name": known.get("cpu_name") or platform.processor() or platform.machine(),
        # What torch's own loops use; `ATEN_CPU_CAPABILITY` lowers it.
        "capability": torch.backends.cpu.get_cpu_capability(),
        "instructions": sorted(name for name, value in known.items() if value is True),
        # Cache sizes decide how oneDNN and MKL cut their work, and so the order of sums.
        "sizes": {name: value for name, value in sorted(known.items()) if type(value) is int and name not in _COUNTS},
    }


def _cuda(device: "torch.device") -> dict[str, Any]:
    import torch

    properties = torch.cuda.get_device_properties(device)
    core: Any = torch._C
    driver = None
    if _DRIVER.is_file():
        match = re.search(r"\d+\.\d+(\.\d+)?", _DRIVER.read_text(encoding="utf-8", errors="replace"))
        driver = None if match is None else match.group()
    return {
        # The name of a partition (MIG) says so: "... MIG 1g.10gb".
        "name": properties.name,
        "capability": f"{properties.major}.{properties.minor}",
        "multiprocessors": properties.multi_processor_count,
        "memory_gib": round(properties.total_memory / 2**30),
        "driver": driver,
        "driver_cuda": core._cuda_getDriverVersion() if hasattr(core, "_cuda_getDriverVersion") else None,
    }


def _metal() -> dict[str, Any]:
    import torch

    return {
        "name": torch.backends.mps.get_name(),
        "cores": torch.backends.mps.get_core_count(),
        "memory_gib": round(torch.mps.recommended_max_memory() / 2**30),
        "macos": platform.mac_ver()[0],
    }
