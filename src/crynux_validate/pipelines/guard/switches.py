"""The table of the guard: every switch of torch, diffusers and transformers that decides bits."""

import functools
import warnings
from collections import OrderedDict
from collections.abc import Callable
from types import ModuleType
from typing import Any, Final

from crynux_validate.pipelines.guard.packages import hidden_packages, model_kernels
from crynux_validate.pipelines.guard.precision import FULL_PRECISION, float32_precision
from crynux_validate.pipelines.guard.process import WORKSPACE_BYTES, loaded
from crynux_validate.pipelines.guard.switch import Switch


@functools.cache
def switches() -> tuple[Switch, ...]:
    """Return the table of switches for the torch that is installed; imports it."""
    import torch

    core: Any = torch._C
    debug = (torch.get_deterministic_debug_mode, torch.set_deterministic_debug_mode)
    fill = "deterministic_fill_uninitialized_memory"
    return (
        Switch("float32_precision", *float32_precision(core), FULL_PRECISION),
        # The public setter of the same state imports the whole compiler.
        Switch("deterministic_algorithms", *debug, 2, lambda mode: ("off", "warn", "error")[mode]),
        _flag(core, "fill_uninitialized_memory", f"_get_{fill}", f"_set_{fill}", True),
        Switch("cpu_threads", torch.get_num_threads, torch.set_num_threads, 1, per_thread=True),
        Switch("flush_denormal", lambda: _flushes_denormal(torch), torch.set_flush_denormal, False, per_thread=True),
        _default_device(torch),
        Switch("default_dtype", torch.get_default_dtype, torch.set_default_dtype, torch.float32, str),
        *(_autocast(torch, kind) for kind in ("cpu", "cuda", "mps")),
        *_libraries(core),
        *_matrix_products(torch, core),
        *_attention(core),
        *_replacements(torch),
        model_kernels(),
        hidden_packages(),
    )


def _libraries(core: Any) -> list[Switch]:
    """cuDNN, oneDNN, NNPACK, MIOpen, and who solves linear equations."""
    return [
        _flag(core, "cudnn.enabled", "_get_cudnn_enabled", "_set_cudnn_enabled", True),
        _flag(core, "cudnn.benchmark", "_get_cudnn_benchmark", "_set_cudnn_benchmark", False),
        _flag(core, "cudnn.deterministic", "_get_cudnn_deterministic", "_set_cudnn_deterministic", True),
        _flag(core, "cudnn.depthwise_kernel", "_get_cudnn_depthwise_kernel", "_set_cudnn_depthwise_kernel", "auto"),
        _flag(core, "mkldnn.enabled", "_get_mkldnn_enabled", "_set_mkldnn_enabled", True),
        _flag(core, "mkldnn.deterministic", "_get_mkldnn_deterministic", "_set_mkldnn_deterministic", True),
        _flag(core, "nnpack.enabled", "_get_nnpack_enabled", "_set_nnpack_enabled", True),
        # Kernels chosen by a database of this machine instead of by their measured time.
        _flag(core, "miopen.immediate", "_get_miopen_immediate", "_set_miopen_immediate", False),
        _preferred(core, "linalg_library", "linalg", core._LinalgBackend.Default),
    ]


def _matrix_products(torch: Any, core: Any) -> list[Switch]:
    """cuBLAS, cuBLASLt and what stands in for them."""
    found = [
        _reduction(core, "cublas.fp16_reduction", "cublas_allow_fp16_reduced_precision_reduction"),
        _reduction(core, "cublas.bf16_reduction", "cublas_allow_bf16_reduced_precision_reduction"),
        _allow(core, "cublas.fp16_accumulation", "cublas_allow_fp16_accumulation"),
        _allow(core, "cpu.fp16_reduction", "cpu_allow_fp16_reduced_precision_reduction"),
        _preferred(core, "blas_library", "blas", core._BlasBackend.Cublas),
        _carveout(core),
    ]
    for name in ("Cublas", "CublasLt"):
        if hasattr(core, f"_cuda_set{name}WorkspaceSize"):
            found.append(_workspace(torch, core, name))
    if hasattr(core, "_cuda_tunableop_is_enabled"):
        tunable = torch.cuda.tunable
        found.append(Switch("tunable_operations", tunable.is_enabled, tunable.enable, False))
    return found


_SDPA: Final = ("math", "flash", "mem_efficient", "cudnn", "overrideable", "fa3")
# torch takes the fused kernel where it has one for the device and dtype, the formula elsewhere. On CPUs the fused one
# repeats its bits and leaves honest machines as near to each other as the formula does; on GPUs neither was tried.
_ATTENTION: Final = ("math", "flash")
# torch's own order, as numbers of torch.nn.attention.SDPBackend: fused, memory-efficient, the formula, cuDNN, others.
_ORDER: Final = [1, 2, 0, 3, 4]


def _attention(core: Any) -> list[Switch]:
    """Which kernel computes attention."""
    from torch.nn.attention import _registry

    def activate(name: str | None) -> None:
        if name is None:
            _registry.restore_flash_attention_impl(_raise_warn=False)
        else:
            _registry.activate_flash_attention_impl(name)

    return [
        *(
            _flag(core, f"sdpa.{kind}", f"_get_{kind}_sdp_enabled", f"_set_sdp_use_{kind}", kind in _ATTENTION)
            for kind in _SDPA
        ),
        _allow(core, "sdpa.math_reduction", "math_sdp_allow_fp16_bf16_reduction"),
        _flag(core, "sdpa.order", "_get_sdp_priority_order", "_set_sdp_priority_order", _ORDER),
        Switch("sdpa.flash_implementation", _registry.current_flash_attention_impl, activate, None),
        _preferred(core, "sdpa.rocm_library", "rocm_fa", core._ROCmFABackend.Default),
        _diffusers_attention(),
    ]


def _replacements(torch: Any) -> list[Switch]:
    """What takes the place of operations and modules, or runs beside them."""
    from torch._dynamo import eval_frame

    mha, einsum = torch.backends.mha, torch.backends.opt_einsum
    eager = eval_frame.DynamoStance("force_eager")
    return [
        Switch("transformer_fastpath", mha.get_fastpath_enabled, mha.set_fastpath_enabled, False),
        Switch("einsum_path", lambda: einsum.enabled, lambda on: setattr(einsum, "enabled", on), False),
        Switch("native_overrides", *_native_overrides(), []),
        Switch("compiler", lambda: eval_frame._stance, eval_frame._set_stance, eager, lambda stance: stance.stance),
        _module_hooks(torch),
        _model_patches(),
    ]


def _flag(core: Any, name: str, get: str, set_: str, wanted: Any) -> Switch:
    """A switch behind a pair of functions of torch's core.

    The public properties refuse to be set after ``torch.backends.disable_global_flags``; some have no getter.
    """
    return Switch(name, lambda: getattr(core, get)(), lambda value: getattr(core, set_)(value), wanted)


def _allow(core: Any, name: str, stem: str) -> Switch:
    return _flag(core, name, f"_get_{stem}", f"_set_{stem}", False)


def _preferred(core: Any, name: str, stem: str, wanted: Any) -> Switch:
    flag = _flag(core, name, f"_get_{stem}_preferred_backend", f"_set_{stem}_preferred_backend", wanted)
    return Switch(name, flag.get, flag.set, wanted, lambda value: str(value).rpartition(".")[2])


def _reduction(core: Any, name: str, stem: str) -> Switch:
    """Reduced precision in reductions, and split-K, which changes the order of the sums: both off."""
    get, set_ = f"_get_{stem}", f"_set_{stem}"
    return Switch(
        name, lambda: tuple(getattr(core, get)()), lambda pair: getattr(core, set_)(*pair), (False, False), list
    )


def _carveout(core: Any) -> Switch:
    """The multiprocessors that matrix products leave free. Its setter warns, whatever it is set to."""
    get, set_ = core._get_sm_carveout_experimental, core._set_sm_carveout_experimental
    return Switch("sm_carveout", get, lambda value: value == get() or set_(value), None)


def _workspace(torch: Any, core: Any, name: str) -> Switch:
    """The room that a library computes in, which decides the kernels that it can choose.

    Until CUDA starts, the environment variable decides, and nothing is asked: to ask would start CUDA. Later the size
    is set here. torch replaces a workspace only by a larger one (pytorch pull request 177912), so all are freed.
    """
    get, set_ = getattr(core, f"_cuda_get{name}WorkspaceSize"), getattr(core, f"_cuda_set{name}WorkspaceSize")

    def size() -> int:
        return int(get()) if torch.cuda.is_initialized() else WORKSPACE_BYTES

    def put(value: int) -> None:
        if size() != value:
            set_(value)
            core._cuda_clearCublasWorkspaces()

    return Switch(f"{name.lower()}.workspace", size, put, WORKSPACE_BYTES)


def _autocast(torch: ModuleType, kind: str) -> Switch:
    return Switch(
        f"autocast.{kind}",
        lambda: torch.is_autocast_enabled(kind),
        lambda on: torch.set_autocast_enabled(kind, on),
        False,
        per_thread=True,
    )


def _default_device(torch: Any) -> Switch:
    """Where schedulers compute their tables: what is in effect, and what ``set_default_device`` set of it.

    The two differ inside ``with torch.device(...)``, which cannot be undone from here, and must not be made permanent.
    """

    def get() -> tuple[str, str | None]:
        context = getattr(torch._GLOBAL_DEVICE_CONTEXT, "device_context", None)
        return str(torch.get_default_device()), None if context is None else str(context.device)

    def put(pair: tuple[str, str | None]) -> None:
        torch.set_default_device(pair[1])

    return Switch("default_device", get, put, ("cpu", None), lambda pair: pair[0], per_thread=True)


def _flushes_denormal(torch: ModuleType) -> bool:
    """Whether this thread flushes denormal numbers to zero; torch can set it, but not tell it."""
    smallest = torch.full((1,), 2.0**-126, dtype=torch.float32, device="cpu")
    return bool(((smallest * 0.5).view(torch.int32) == 0).item())


def _native_overrides() -> tuple[Callable[[], list[str]], Callable[[list[str]], None]]:
    """What torch registers at its import in place of its own operations, in Triton or CuTe where those are installed.

    The public ``torch.backends.python_native`` does not know all of it (``_foreach_mm`` is missing).
    """
    from torch._native import registry

    def get() -> list[str]:
        makers = {node.dsl_name for nodes in registry._graphs.values() for node in nodes}
        return sorted(makers - registry._filter_state._dsl_names)

    def set_(names: list[str]) -> None:
        off, on = sorted(set(get()) - set(names)), sorted(set(names) - set(get()))
        # torch itself silences this warning where it registers them.
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Warning only once for all operators", category=UserWarning)
            if off:
                registry.deregister_op_overrides(disable_dsl_names=off)
            if on:
                registry.reenable_op_overrides(enable_dsl_names=on)

    return get, set_


_HOOKS: Final = (
    "forward_pre_hooks", "forward_hooks", "forward_hooks_always_called", "forward_hooks_with_kwargs",
    "parameter_registration_hooks", "buffer_registration_hooks", "module_registration_hooks",
)  # fmt: skip


def _module_hooks(torch: Any) -> Switch:
    """Hooks that run with every module of the process (``register_module_forward_hook`` and its relatives).

    A hook that its owner removes inside the guard is not there to be removed, and comes back.
    """
    tables: list[OrderedDict[int, Any]] = [getattr(torch.nn.modules.module, f"_global_{name}") for name in _HOOKS]

    def get() -> list[dict[int, Any]]:
        return [dict(table) for table in tables]

    def set_(value: list[dict[int, Any]]) -> None:
        for table, hooks in zip(tables, value, strict=True):
            table.clear()
            table.update(hooks)

    return Switch("module_hooks", get, set_, [{} for _ in tables], lambda value: sum(map(len, value)))


def _model_patches() -> Switch:
    """Classes that transformers puts in place of a model's own (``register_patch_mapping``)."""

    def table() -> dict[str, Any]:
        module = loaded("transformers.monkey_patching")
        return {} if module is None else module._monkey_patch_mapping_cache

    def set_(value: dict[str, Any]) -> None:
        present = table()
        if present != value:
            present.clear()
            present.update(value)

    return Switch("model_patches", lambda: dict(table()), set_, {}, sorted)


def _diffusers_attention() -> Switch:
    """The implementation of attention that ``diffusers.attention_backend`` makes active."""

    def registry() -> Any:
        module = loaded("diffusers.models.attention_dispatch")
        return None if module is None else module._AttentionBackendRegistry

    def get() -> str:
        found = registry()
        return "native" if found is None else str(getattr(found._active_backend, "value", found._active_backend))

    def set_(value: str) -> None:
        found = registry()
        if found is not None and get() != value:
            found.set_active_backend(type(found._active_backend)(value))

    return Switch("diffusers_attention", get, set_, "native")
