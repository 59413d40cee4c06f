"""Products in other threads than the one that entered `tensor_cores`: refused, as long as the context lasts.

A mode of torch belongs to a thread, and another thread would compute natively without a word. So each product has a
hook at a place that the dispatcher passes in every thread; what it finds there is passed on, or refused.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import torch

from crynux_validate.errors import FakeHardwareError

_PRODUCTS: Final = (
    "mm", "bmm", "addmm", "baddbmm", "addbmm", "mv", "addmv", "dot", "vdot", "convolution",
    "_scaled_dot_product_flash_attention_for_cpu",
)  # fmt: skip

_KEY: Final = "BackendSelect"
"""A key that every call of an operation has, in every thread and also under ``inference_mode``."""

_lock = threading.Lock()
_entered: dict[int, Any] = {}
"""What is entered, by the number of its thread."""

_hooks: list[Any] = []
"""The hooks, while there are any: the library that torch keeps them in."""


@contextmanager
def refused_elsewhere(cores: Any) -> Iterator[None]:
    """Refuse products of float16 and bfloat16 in every thread that has entered no context."""
    me = threading.get_ident()
    with _lock:
        _entered[me] = cores
        if not _hooks:
            _hooks.append(_hooked())
    try:
        yield
    finally:
        with _lock:
            del _entered[me]
            if not _entered:
                _hooks.pop()._destroy()


def _hooked() -> Any:
    library: Any = torch.library.Library("aten", "IMPL")  # type: ignore[no-untyped-call]
    for name in _PRODUCTS:
        library.impl(name, _hook(getattr(torch.ops.aten, name).default), _KEY, with_keyset=True)
    return library


def _hook(operation: Any) -> Callable[..., Any]:
    core: Any = torch._C
    after = core._dispatch_keyset_full_after(getattr(core.DispatchKey, _KEY))

    def hook(keys: Any, *args: Any, **kwargs: Any) -> Any:
        first = next(value for value in args if isinstance(value, torch.Tensor))
        if threading.get_ident() not in _entered:
            _refuse(operation, first.dtype)
        return operation.redispatch(keys & after, *args, **kwargs)

    return hook


def _refuse(operation: Any, dtype: torch.dtype) -> None:
    contexts = [*_entered.values()]
    tf32 = any(cores.tf32 for cores in contexts)
    if contexts and (dtype in {torch.float16, torch.bfloat16} or (tf32 and dtype is torch.float32)):
        raise FakeHardwareError(
            f"{operation} is called in the thread {threading.current_thread().name!r} while another one is inside "
            f"{contexts[0]!r}: enter tensor_cores in the thread that computes"
        )
