"""Environment variables that libraries read once, when they start: set in time, or refused.

Nothing here imports torch: what a library did with a variable is looked up in the modules that are already loaded.
"""

import importlib.util
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from crynux_validate.errors import DeterminismError


@dataclass(frozen=True)
class Variable:
    """An environment variable that the guard needs at one value.

    Parameters
    ----------
    name, wanted
        The variable and its value.
    why
        What it decides, for the error.
    too_late
        Given the present value, says why setting it now would have no effect (and what is in effect does harm);
        None while it can be set, and where it does not matter any more.
    """

    name: str
    wanted: str
    why: str
    too_late: Callable[[str | None], str | None]


def _never(_value: str | None) -> str | None:
    return None


def loaded(module: str) -> Any:
    """Return a module if it is loaded, else None; it is never imported for this."""
    return sys.modules.get(module)


def _cublas_started(wanted: str) -> Callable[[str | None], str | None]:
    """The workspace is made at the first matrix product; torch 2.13 on CUDA lets the guard change its size later."""

    def too_late(value: str | None) -> str | None:
        torch = loaded("torch")
        if value == wanted or torch is None or not torch.cuda.is_initialized():
            return None
        if hasattr(torch._C, "_cuda_setCublasWorkspaceSize"):
            return None
        return "CUDA has already started in this process, and this build of torch cannot change it any more"

    return too_late


def _cuda_started(value: str | None) -> str | None:
    """Read once CUDA is in use; unset means off, so only another value does harm."""
    torch = loaded("torch")
    if value in {None, "0"} or torch is None or not torch.cuda.is_initialized():
        return None
    return f"CUDA has already started in this process with {value!r}"


def _hub_kernels(_value: str | None) -> str | None:
    """transformers reads it when this module is imported, and it matters only where ``kernels`` is installed."""
    hub = loaded("transformers.integrations.hub_kernels")
    if hub is None or not hub.is_kernels_available() or not hub._kernels_enabled:
        return None
    return "transformers has already been imported with it on, and the package 'kernels' is installed"


def _diffusers_backend(_value: str | None) -> str | None:
    """diffusers reads it when its constants are imported."""
    constants = loaded("diffusers.utils.constants")
    if constants is None or constants.DIFFUSERS_ATTN_BACKEND == "native":
        return None
    return f"diffusers has already been imported with {constants.DIFFUSERS_ATTN_BACKEND!r}"


def _metal_started(value: str | None) -> str | None:
    """torch reads it when it is loaded; unset means off, so only another value does harm, and only on Apple's GPUs."""
    torch = loaded("torch")
    if value in {None, "0"} or torch is None or not torch.backends.mps.is_available():
        return None
    return f"torch has already been imported with {value!r}"


WORKSPACE_BYTES: Final = 4096 * 8 * 2**10
"""Bytes of the workspace of cuBLAS, and of cuBLASLt, which uses the same memory: eight parts of 4,096 KiB."""
_WORKSPACE: Final = ":4096:8"
_WORKSPACE_LT: Final = str(WORKSPACE_BYTES // 2**10)

RECORDED_CPU: Final = (
    "DNNL_DEFAULT_FPMATH_MODE", "DNNL_MAX_CPU_ISA", "GLIBC_TUNABLES", "MKL_CBWR", "MKL_DEBUG_CPU_TYPE",
    "MKL_DISABLE_FAST_MM", "MKL_ENABLE_INSTRUCTIONS", "MKL_NUM_STRIPES", "NPY_DISABLE_CPU_FEATURES",
    "NPY_ENABLE_CPU_FEATURES", "ONEDNN_DEFAULT_FPMATH_MODE", "ONEDNN_MAX_CPU_ISA", "OPENBLAS_CORETYPE",
    "TORCH_LINEAR_FLATTEN_3D", "TORCH_MKLDNN_MATMUL_MIN_DIM", "TORCH_MKLDNN_MATMUL_MIN_SIZE",
)  # fmt: skip
"""Variables that change bits on a CPU: left as they are, but recorded (``ATEN_CPU_CAPABILITY`` by its effect)."""

RECORDED_CUDA: Final = (
    "CUDA_FORCE_PTX_JIT", "DISABLE_ADDMM_CUDA_LT", "MIOPEN_DEBUG_CONVOLUTION_DETERMINISTIC", "MIOPEN_FIND_ENFORCE",
    "MIOPEN_FIND_MODE", "PYTORCH_MIOPEN_SUGGEST_NHWC", "PYTORCH_MIOPEN_SUGGEST_NHWC_BATCHNORM",
    "TORCH_CUBLASLT_UNIFIED_WORKSPACE", "TORCH_LINEAR_FLATTEN_3D",
)  # fmt: skip
"""The same on CUDA and ROCm."""

VARIABLES: Final[tuple[Variable, ...]] = (
    Variable("CUBLAS_WORKSPACE_CONFIG", _WORKSPACE, "matrix products on CUDA", _cublas_started(_WORKSPACE)),
    Variable("CUBLASLT_WORKSPACE_SIZE", _WORKSPACE_LT, "matrix products on CUDA", _cublas_started(_WORKSPACE_LT)),
    Variable("NVIDIA_TF32_OVERRIDE", "0", "the precision of float32 on CUDA", _cuda_started),
    Variable("TORCH_CUDNN_USE_HEURISTIC_MODE_B", "0", "how cuDNN chooses kernels of convolutions", _cuda_started),
    Variable("TORCH_CUDNN_V8_API_DISABLED", "0", "how cuDNN chooses kernels of convolutions", _cuda_started),
    # Never too late: the guard switches off what torch registered at its import (`native_overrides`).
    Variable("TORCH_DISABLE_NATIVE_JIT", "1", "replaced implementations of torch's operations", _never),
    Variable("DIFFUSERS_ATTN_BACKEND", "native", "the implementation of attention in diffusers", _diffusers_backend),
    Variable("USE_HUB_KERNELS", "0", "kernels that transformers downloads", _hub_kernels),
    # transformers reads these two at every call.
    Variable("TRANSFORMERS_SDPA_FORCE_GQA", "0", "the kernel of fused attention of language models", _never),
    Variable("FLASH_ATTENTION_DETERMINISTIC", "1", "the backward pass of flash attention", _never),
    Variable("PYTORCH_ENABLE_MPS_FALLBACK", "0", "operations that leave Apple's GPU for the CPU", _metal_started),
    Variable("PYTORCH_MPS_FAST_MATH", "0", "the precision of kernels on Apple's GPU", _metal_started),
    Variable("PYTORCH_MPS_PREFER_METAL", "0", "the kernels of matrix products on Apple's GPU", _metal_started),
)
"""Every variable that must have one value.

``TORCH_BLAS_PREFER_CUBLASLT`` and ``TORCHINDUCTOR_*`` are not here: the guard pins the BLAS library and keeps the
compiler off, whatever they say.
"""


def require(*packages: str) -> None:
    """Raise `ModuleNotFoundError` for a package of the extra that is not installed, without importing any."""
    for package in packages:
        if importlib.util.find_spec(package) is None:
            raise ModuleNotFoundError(f"No module named {package!r}", name=package)


def prepare_process() -> None:
    """Set the environment variables of the guard, for this process and its children, where it is still in time.

    `deterministic` calls this. Call it yourself before anything touches the GPU where other code might do so first;
    calling it again is cheap. Unlike the guard's switches the variables stay: a library that has read one cannot be
    made to forget it.

    Raises
    ------
    DeterminismError
        Where a library has already started with another value, with the variable and the fix. Nothing is set then.
    """
    for variable in VARIABLES:
        value = os.environ.get(variable.name)
        reason = variable.too_late(value)
        if reason is not None:
            raise DeterminismError(
                f"{variable.name} must be {variable.wanted!r} ({variable.why}), but {reason}. Export "
                f"{variable.name}={variable.wanted} before Python starts, or call "
                "crynux_validate.pipelines.guard.process.prepare_process() first thing in the program"
            )
    for variable in VARIABLES:
        os.environ[variable.name] = variable.wanted
