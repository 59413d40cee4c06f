"""Which of torch's kernels computed attention: torch chooses by device, dtype and mask, and says nothing."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode


class _Watch(TorchFunctionMode):
    """Asks torch, at each call of its attention, which kernel it takes for these arguments."""

    def __init__(self, seen: set[str]) -> None:
        super().__init__()
        self._seen = seen

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.nn.functional.scaled_dot_product_attention:
            core: Any = torch._C
            choice: Any = torch._fused_sdp_choice
            self._seen.add(core._SDPBackend(choice(*args, **(kwargs or {}))).name.lower())
        return func(*args, **(kwargs or {}))


@contextmanager
def watched(seen: set[str]) -> Iterator[None]:
    """Add the names of the kernels that are taken inside: ``flash_attention``, ``math`` and others."""
    with _Watch(seen):
        yield
