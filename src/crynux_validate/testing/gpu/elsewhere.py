"""Products that the mode of `tensor_cores` does not see: refused, as long as the context lasts.

A mode of torch belongs to a thread, and another thread would compute natively without a word. So each product has a
hook at a place that the dispatcher passes in every thread, also where modes are turned off; what it finds there is
passed on, or refused. Code that a compiler made passes no such place; `compiled` refuses it.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Final

import torch

from crynux_validate.errors import FakeHardwareError
from crynux_validate.testing.gpu.compiled import refused_compiled

_PRODUCTS: Final = (
    "mm", "bmm", "addmm", "baddbmm", "addbmm", "mv", "addmv", "dot", "vdot", "convolution",
    "_scaled_dot_product_flash_attention_for_cpu",
)  # fmt: skip

_KEY: Final = "BackendSelect"
"""A key that every call of an operation has, in every thread and also under ``inference_mode``."""

_lock = threading.Lock()
_entered: dict[int, Any] = {}
"""What is entered, by the number of its thread."""

_hooks = ExitStack()
"""What is hooked while any context is entered."""


@contextmanager
def refused_elsewhere(cores: Any) -> Iterator[None]:
    """Refuse products of float16 and bfloat16 that the mode of a context does not get, and compiled code."""
    me = threading.get_ident()
    with _lock:
        if not _entered:
            _hooks.enter_context(refused_compiled(_any_entered))
            _hooks.enter_context(_hooked())
        _entered[me] = cores
    try:
        yield
    finally:
        with _lock:
            del _entered[me]
            if not _entered:
                _hooks.close()


def _any_entered() -> Any:
    """The context of this thread, or of another."""
    return _entered.get(threading.get_ident()) or next(iter(_entered.values()), None)


@contextmanager
def _hooked() -> Iterator[None]:
    library: Any = torch.library.Library("aten", "IMPL")  # type: ignore[no-untyped-call]
    try:
        for name in _PRODUCTS:
            library.impl(name, _hook(getattr(torch.ops.aten, name).default), _KEY, with_keyset=True)
        yield
    finally:
        library._destroy()


def _hook(operation: Any) -> Callable[..., Any]:
    core: Any = torch._C
    after = core._dispatch_keyset_full_after(getattr(core.DispatchKey, _KEY))

    def hook(keys: Any, *args: Any, **kwargs: Any) -> Any:
        first = next(value for value in args if isinstance(value, torch.Tensor))
        if not first.is_meta:
            _refuse(operation, first.dtype)
        return operation.redispatch(keys & after, *args, **kwargs)

    return hook


def _refuse(operation: Any, dtype: torch.dtype) -> None:
    """Refuse a product that has come here: in a thread that is inside, the mode was to compute it."""
    mine = _entered.get(threading.get_ident())
    contexts = [*_entered.values()] if mine is None else [mine]
    tf32 = any(cores.tf32 for cores in contexts)
    if not contexts or not (dtype in {torch.float16, torch.bfloat16} or (tf32 and dtype is torch.float32)):
        return
    if mine is not None:
        raise FakeHardwareError(
            f"{operation} is called past {mine!r}: something turns modes of torch off; compute this part outside of it"
        )
    raise FakeHardwareError(
        f"{operation} is called in the thread {threading.current_thread().name!r} while another one is inside "
        f"{contexts[0]!r}: enter tensor_cores in the thread that computes"
    )
