"""The guard: sets every switch that decides bits, checks that it holds, and puts every switch back.

`deterministic` is a context manager; `switches` is its table, from which `numerics` reads the record that two machines
compare. What the field has ready (``diffusers.training_utils.enable_full_determinism``, transformers' own) leaves
cuDNN on TF32 and does not put back what was set before.
"""

import functools
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Final

from crynux_validate.errors import DeterminismError
from crynux_validate.pipelines.precision import FULL_PRECISION, float32_precision
from crynux_validate.pipelines.process import VARIABLES, prepare_process, require

__all__ = ["Switch", "deterministic", "numerics", "prepare_process", "switches"]

# torch is imported when the guard is first entered, not here: `prepare_process` comes before it.
require("torch")

_UNARY: Final = (
    "abs", "acos", "acosh", "asin", "asinh", "atan", "atanh", "ceil", "cos", "cosh", "digamma", "erf", "erfc", "erfinv",
    "exp", "exp2", "expm1", "floor", "lgamma", "log", "log10", "log1p", "log2", "neg", "reciprocal", "round", "rsqrt",
    "sigmoid", "sin", "sinc", "sinh", "sqrt", "square", "tan", "tanh", "trunc",
)  # fmt: skip

# The switches belong to the process, so a second thread has to wait until the first is done.
_LOCK: Final = threading.RLock()


@dataclass(frozen=True)
class Switch:
    """One thing that decides bits.

    Parameters
    ----------
    name
        Its name in the numerics record.
    get, set
        Read it, and set it to what `get` returned.
    wanted
        The value under the guard.
    show
        Turns a value into JSON, where it is not that already.
    """

    name: str
    get: Callable[[], Any]
    set: Callable[[Any], object]
    wanted: Any
    show: Callable[[Any], Any] = lambda value: value

    def apply(self) -> None:
        """Set the wanted value."""
        try:
            self.set(self.wanted)
        except Exception as error:
            raise DeterminismError(f"{self.name} cannot be set to {self.show(self.wanted)!r}: {error}") from error

    def check(self, when: str) -> None:
        """Read it back, and raise where it is not what is wanted."""
        found = self.read()
        if found != self.wanted:
            raise DeterminismError(
                f"{self.name} is {self.show(found)!r} {when}, not {self.show(self.wanted)!r}: other code holds it or "
                "changes it meanwhile; run the task outside of that code's context, or in a process of its own"
            )

    def read(self) -> Any:
        """Read it, or raise `DeterminismError` where this torch does not have it."""
        try:
            return self.get()
        except (AttributeError, RuntimeError) as error:
            raise DeterminismError(f"{self.name} cannot be read from this version of torch: {error}") from error


@contextmanager
def deterministic() -> Iterator[None]:
    """Compute with every switch at the one value that this library uses, and put every switch back afterwards.

    Inside, torch runs deterministic algorithms in full precision, without TF32, autotuning, compiled
    or replaced kernels, on one CPU thread; anything that has no deterministic algorithm raises. The seed belongs to
    the task: random numbers are not the guard's business.

    Every switch is read back on entry and again on a regular exit, and each is restored to what it was, whatever is
    raised. The environment variables of `prepare_process` stay set. Entering it inside itself is fine. The switches
    belong to the whole process: another thread that enters waits until this one has left, and code in other threads
    that does not enter runs under the guard's switches meanwhile.

    Raises
    ------
    DeterminismError
        Where a variable comes too late, or a switch could not be set or did not hold; the message names it.

    Examples
    --------
    >>> with deterministic():
    ...     product = torch.ones(2, 2) @ torch.ones(2, 2)
    """
    prepare_process()
    with _LOCK:
        table = switches()
        before: list[tuple[Switch, Any]] = []
        try:
            for switch in table:
                before.append((switch, switch.read()))
                switch.apply()
            _check(table, "although the guard set it")
            _warm()
            yield
            _check(table, "at the end of the guarded block")
        finally:
            _restore(before)


def numerics() -> dict[str, Any]:
    """Return the record of every switch as the guard sets it, read back: JSON values, equal on equal machines.

    Raises
    ------
    DeterminismError
        As `deterministic` does.
    """
    with deterministic():
        record = {switch.name: switch.show(switch.read()) for switch in switches()}
    # `prepare_process` has made sure of these.
    return record | {"variables": {variable.name: variable.wanted for variable in VARIABLES}}


def _check(table: tuple[Switch, ...], when: str) -> None:
    for switch in table:
        switch.check(when)


def _restore(before: list[tuple[Switch, Any]]) -> None:
    """Put everything back, last first; one that fails does not keep the others from being restored."""
    failed: list[Exception] = []
    for switch, value in reversed(before):
        try:
            switch.set(value)
        except Exception as error:  # noqa: BLE001 - collected, and raised below
            failed.append(DeterminismError(f"{switch.name} could not be put back to {value!r}: {error}"))
    if failed:
        raise DeterminismError("; ".join(map(str, failed))) from failed[0]


@functools.cache
def _warm() -> None:
    """Call every unary operation once: the first call of the vector maths library can race (pytorch issue 188792)."""
    import torch

    for dtype in (torch.float32, torch.float64):
        one = torch.full((1,), 0.5, dtype=dtype, device="cpu")
        for name in _UNARY:
            getattr(torch, name)(one)


@functools.cache
def switches() -> tuple[Switch, ...]:
    """Return the table of switches for the torch that is installed; imports it."""
    import torch
    from torch._dynamo import eval_frame

    core: Any = torch._C
    cuda, mha, einsum = torch.backends.cuda, torch.backends.mha, torch.backends.opt_einsum
    debug = (torch.get_deterministic_debug_mode, torch.set_deterministic_debug_mode)
    fill = "deterministic_fill_uninitialized_memory"
    eager = eval_frame.DynamoStance("force_eager")
    table = [
        Switch("float32_precision", *float32_precision(core), FULL_PRECISION),
        # The public setter of the same state imports the whole compiler.
        Switch("deterministic_algorithms", *debug, 2, lambda mode: ("off", "warn", "error")[mode]),
        _flag(core, "fill_uninitialized_memory", f"_get_{fill}", f"_set_{fill}", True),
        Switch("cpu_threads", torch.get_num_threads, torch.set_num_threads, 1),
        Switch("flush_denormal", lambda: _flushes_denormal(torch), torch.set_flush_denormal, False),
        _default_device(torch),
        Switch("default_dtype", torch.get_default_dtype, torch.set_default_dtype, torch.float32, str),
        *(_autocast(torch, kind) for kind in ("cpu", "cuda", "mps")),
        _flag(core, "cudnn.enabled", "_get_cudnn_enabled", "_set_cudnn_enabled", True),
        _flag(core, "cudnn.benchmark", "_get_cudnn_benchmark", "_set_cudnn_benchmark", False),
        _flag(core, "cudnn.deterministic", "_get_cudnn_deterministic", "_set_cudnn_deterministic", True),
        _flag(core, "cudnn.depthwise_kernel", "_get_cudnn_depthwise_kernel", "_set_cudnn_depthwise_kernel", "auto"),
        _flag(core, "mkldnn.enabled", "_get_mkldnn_enabled", "_set_mkldnn_enabled", True),
        _flag(core, "mkldnn.deterministic", "_get_mkldnn_deterministic", "_set_mkldnn_deterministic", True),
        _flag(core, "nnpack.enabled", "_get_nnpack_enabled", "_set_nnpack_enabled", True),
        _reduction(core, "cublas.fp16_reduction", "cublas_allow_fp16_reduced_precision_reduction"),
        _reduction(core, "cublas.bf16_reduction", "cublas_allow_bf16_reduced_precision_reduction"),
        _allow(core, "cublas.fp16_accumulation", "cublas_allow_fp16_accumulation"),
        _allow(core, "cpu.fp16_reduction", "cpu_allow_fp16_reduced_precision_reduction"),
        Switch(
            "blas_library", cuda.preferred_blas_library, cuda.preferred_blas_library, core._BlasBackend.Cublas, _name
        ),
        *(
            _flag(core, f"sdpa.{kind}", f"_get_{kind}_sdp_enabled", f"_set_sdp_use_{kind}", kind in _ATTENTION)
            for kind in _SDPA
        ),
        _allow(core, "sdpa.math_reduction", "math_sdp_allow_fp16_bf16_reduction"),
        Switch("transformer_fastpath", mha.get_fastpath_enabled, mha.set_fastpath_enabled, False),
        Switch("einsum_path", lambda: einsum.enabled, lambda on: setattr(einsum, "enabled", on), False),
        Switch("native_overrides", *_native_overrides(), []),
        Switch("compiler", lambda: eval_frame._stance, eval_frame._set_stance, eager, lambda stance: stance.stance),
    ]
    if hasattr(core, "_cuda_tunableop_is_enabled"):
        tunable = torch.cuda.tunable
        table.append(Switch("tunable_operations", tunable.is_enabled, tunable.enable, False))
    return tuple(table)


_SDPA: Final = ("math", "flash", "mem_efficient", "cudnn", "overrideable", "fa3")
# torch takes the fused kernel where it has one for the device and dtype, the formula elsewhere. On CPUs the fused one
# repeats its bits and leaves honest machines as near to each other as the formula does; on GPUs neither was tried.
_ATTENTION: Final = ("math", "flash")


def _name(value: Any) -> str:
    return str(value).rpartition(".")[2]


def _flag(core: Any, name: str, get: str, set_: str, wanted: Any) -> Switch:
    """A switch behind a pair of functions of torch's core.

    The public properties refuse to be set after ``torch.backends.disable_global_flags``; some have no getter.
    """
    return Switch(name, lambda: getattr(core, get)(), lambda value: getattr(core, set_)(value), wanted)


def _allow(core: Any, name: str, stem: str) -> Switch:
    return _flag(core, name, f"_get_{stem}", f"_set_{stem}", False)


def _reduction(core: Any, name: str, stem: str) -> Switch:
    """Reduced precision in reductions, and split-K, which changes the order of the sums: both off."""
    get, set_ = f"_get_{stem}", f"_set_{stem}"
    return Switch(
        name, lambda: tuple(getattr(core, get)()), lambda pair: getattr(core, set_)(*pair), (False, False), list
    )


def _autocast(torch: ModuleType, kind: str) -> Switch:
    return Switch(
        f"autocast.{kind}",
        lambda: torch.is_autocast_enabled(kind),
        lambda on: torch.set_autocast_enabled(kind, on),
        False,
    )


def _default_device(torch: Any) -> Switch:
    """Where schedulers compute their tables: what is in effect, and what ``set_default_device`` set of it.

    The two differ inside ``with torch.device(...)``, which cannot be undone from here, and must not be made permanent.
    """

    def get() -> tuple[str, str | None]:
        context = getattr(torch._GLOBAL_DEVICE_CONTEXT, "device_context", None)
        return str(torch.get_default_device()), None if context is None else str(context.device)

    return Switch(
        "default_device", get, lambda pair: torch.set_default_device(pair[1]), ("cpu", None), lambda pair: pair[0]
    )


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
