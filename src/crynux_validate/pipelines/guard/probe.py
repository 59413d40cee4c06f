"""The GPU model of this machine, and the parts of its environment that are known before a model is loaded."""

import math
import os
import platform
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from crynux_validate.errors import InvalidInputError, PipelineError
from crynux_validate.machines.environment import Environment
from crynux_validate.machines.gpu import PLATFORMS, GpuModel
from crynux_validate.machines.gpu_names import usual
from crynux_validate.pipelines.guard.determinism import numerics
from crynux_validate.pipelines.guard.packages import recorded_packages
from crynux_validate.pipelines.guard.process import RECORDED_CPU, RECORDED_CUDA, prepare_process, require

if TYPE_CHECKING:
    import torch

require("torch")

_DRIVER: Final = Path("/proc/driver/nvidia/version")
_COUNTS: Final = ("num_logical_cores", "num_physical_cores", "num_sockets")
_GIB: Final = 2**30

_SMI_SECONDS: Final = 20.0
"""How long nvidia-smi may take; it wakes the driver where no process keeps it loaded."""

_DOCKER_MARK: Final = Path("/.dockerenv")
_CGROUP: Final = Path("/proc/self/cgroup")


def local_environment(device: "str | torch.device | None" = None) -> Environment:
    """Read what decides the bits that this machine computes, without loading a model.

    Parameters
    ----------
    device
        ``cpu``, ``cuda``, ``cuda:1``, ``mps``; by default the first that is there of cuda, mps, cpu.

    Returns
    -------
    Environment
        The kernel record (accelerator, driver, libraries; for a CPU its instruction sets) and the numerics record
        (every switch of the guard, read back), without a recipe.

    Raises
    ------
    InvalidInputError
        For an invalid device.
    PipelineError
        If this machine does not have the device.
    DeterminismError
        If the guard cannot be entered.
    """
    return Environment(kernel(device), numerics())


def local_gpu(device: "str | torch.device | None" = None) -> GpuModel:
    """Read the GPU model of this machine, as a node declares it (protocol P1).

    A card of NVIDIA or AMD is found with torch, or with nvidia-smi if torch has no CUDA and `device` is None or
    ``cuda``. On a machine of Apple it is the chip and the machine's memory, and without a card the processor and the
    machine's memory. A node with several equal cards uses ``dataclasses.replace(gpu, count=2)``.

    Parameters
    ----------
    device
        ``cpu``, ``cuda``, ``cuda:1``, ``mps``; by default the first that is there of cuda, mps, cpu.

    Returns
    -------
    GpuModel
        One card. The memory is that of nvidia-smi if it is installed, since torch leaves out up to a GiB that the
        driver keeps. The platform is ``docker`` in a container, otherwise the system's name.

    Raises
    ------
    InvalidInputError
        For an invalid device.
    PipelineError
        If this machine does not have the device.
    """
    asked = "" if device is None else str(device)
    kind, _, index = asked.partition(":")
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in {"", "-1"}
    if kind in {"", "cuda"} and not hidden and default_device() != "cuda":
        # The driver may know a card that this build of torch cannot use.
        cards = [(name, memory) for _, name, memory in _nvidia_smi()]
        at = int(index) if index.isdecimal() else 0
        if at < len(cards):
            return _model(*cards[at])
    found = find_device(device)
    if found.type == "cuda":
        return _model(*_cuda_card(found))
    if found.type == "mps":
        import torch

        return _model(torch.backends.mps.get_name(), _main_memory())
    return _model(usual(_processor_name()) or platform.machine(), _main_memory())


def _model(name: str, memory_bytes: int) -> GpuModel:
    """A GPU model in this machine's platform; names of processors hold what a GPU model's name does not."""
    try:
        return GpuModel(usual(name), max(1, math.ceil(memory_bytes / _GIB)), _platform())
    except InvalidInputError as error:
        raise PipelineError(
            f"this machine tells no name that can stand for it; write the GpuModel yourself: {error}"
        ) from error


def _cuda_card(device: "torch.device") -> tuple[str, int]:
    """Name and bytes of memory of a card that torch can use."""
    import torch

    properties = torch.cuda.get_device_properties(device)
    uuid = str(getattr(properties, "uuid", ""))
    for of_card, name, memory in _nvidia_smi():
        # A partition of a card (MIG) has another name than the card.
        if uuid and of_card.endswith(uuid) and name == properties.name:
            return name, memory
    return properties.name, properties.total_memory


def _nvidia_smi() -> list[tuple[str, str, int]]:
    """Uuid, name and bytes of memory of each card, in the order of the bus; empty where nvidia-smi has no answer."""
    # A card that shares the machine's memory has "[N/A]" there, and no line that fits.
    lines = _smi_lines("uuid,name,memory.total")
    found = [re.fullmatch(r"\s*(\S+), (.+), ([0-9]{1,9}) MiB\s*", line) for line in lines]
    return [(card[1], card[2], int(card[3]) * 2**20) for card in found if card]


def _smi_lines(columns: str) -> list[str]:
    """What nvidia-smi says of each card, in the order of the bus; empty where it has no answer."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    try:
        done = subprocess.run(  # noqa: S603 - the operator's own program and constant arguments
            [program, f"--query-gpu={columns}", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_SMI_SECONDS,
            check=True,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.SubprocessError):
        return []
    return done.stdout.splitlines()


def _platform() -> str:
    """``docker`` in a container, as nodes of the live network find out, else the system's name where it has one."""
    system = platform.system()
    if _DOCKER_MARK.exists() or os.environ.get("KUBERNETES_SERVICE_HOST"):
        return "docker"
    if _CGROUP.is_file() and "docker" in _CGROUP.read_text(encoding="utf-8", errors="replace"):
        return "docker"
    return system if system in PLATFORMS else ""


def _main_memory() -> int:
    """Bytes of the machine's memory."""
    if hasattr(os, "sysconf"):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    import ctypes

    # Windows: MEMORYSTATUSEX is two u32, the first its own size, and seven u64, the first the bytes there are.
    status = (ctypes.c_uint64 * 8)(ctypes.sizeof(ctypes.c_uint64 * 8))
    library: Any = getattr(ctypes, "windll", None)
    if library is None or not library.kernel32.GlobalMemoryStatusEx(ctypes.byref(status)):
        raise PipelineError("this system does not tell how much memory it has; write the GpuModel yourself")
    return int(status[1])


def _processor_name() -> str:
    """The processor's name for people."""
    import torch

    known = dict(torch.cpu.get_capabilities())
    return str(known.get("cpu_name") or platform.processor() or platform.machine())


def default_device() -> str:
    """Return the kind of device that is used by default: cuda if there is one, else mps, else cpu."""
    prepare_process()
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def find_device(device: "str | torch.device | None" = None) -> "torch.device":
    """Return a device of torch; parameters and errors as for `local_environment`."""
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
        count = torch.cuda.device_count()
        # The current device is torch's choice where none is named; asking for it needs one.
        index = found.index if found.index is not None else torch.cuda.current_device() if count else 0
        if index < count:
            return torch.device("cuda", index)
        raise PipelineError(f"the device {found} is not there: torch {torch.__version__} finds {count} CUDA devices")
    if found.type == "mps":
        raise PipelineError(f"the device {found} is not there: torch {torch.__version__} finds no Metal device")
    raise InvalidInputError(f"{str(found)!r} is not supported; expected cpu, cuda, cuda:<number> or mps")


def kernel(device: "str | torch.device | None" = None) -> dict[str, Any]:
    """Return the kernel record of an environment; parameters and errors as for `local_environment`."""
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
        "packages": recorded_packages(cuda=found.type == "cuda"),
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


def _processor() -> dict[str, Any]:
    """The processor, and the instruction sets that torch uses of it."""
    import torch

    known = dict(torch.cpu.get_capabilities())
    return {
        "name": _processor_name(),
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
    return {
        # The name of a partition (MIG) says so: "... MIG 1g.10gb".
        "name": properties.name,
        "capability": f"{properties.major}.{properties.minor}",
        "multiprocessors": properties.multi_processor_count,
        "memory_gib": math.ceil(properties.total_memory / _GIB),
        "driver": _driver(),
        "driver_cuda": core._cuda_getDriverVersion() if hasattr(core, "_cuda_getDriverVersion") else None,
    }


def _driver() -> str | None:
    """The version of NVIDIA's driver; the kernel does not tell it under Windows and WSL, where nvidia-smi does."""
    told = _DRIVER.read_text(encoding="utf-8", errors="replace") if _DRIVER.is_file() else ""
    for text in (told, *_smi_lines("driver_version")[: 0 if told else 1]):
        if match := re.search(r"\d+\.\d+(\.\d+)?", text):
            return match.group()
    return None


def _metal() -> dict[str, Any]:
    import torch

    return {
        "name": torch.backends.mps.get_name(),
        "cores": torch.backends.mps.get_core_count(),
        "memory_gib": math.ceil(torch.mps.recommended_max_memory() / _GIB),
        "macos": platform.mac_ver()[0],
    }
