"""Our noise as tensors, and in place of torch's own random numbers."""

import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from crynux_validate.pipelines.noise import Purpose, normal


class Noise(TorchFunctionMode):
    """Answers ``torch.randn`` and ``randn_like`` from our own noise, for one image; draws are counted from `first`.

    It is entered around what draws only: it sees every call of torch in its thread, which costs time.
    """

    def __init__(self, seed: int, image: int, first: int = 1, purpose: Purpose = Purpose.IMAGE) -> None:
        super().__init__()
        self._purpose = purpose
        self._seed = seed
        self._image = image
        self._draws = itertools.count(first)

    def __torch_function__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Answer the two functions, pass on everything else."""
        settings = dict(kwargs or {})
        if func is torch.randn:
            size = settings.pop("size", args[0] if len(args) == 1 else args)
            shape = (size,) if isinstance(size, int) else tuple(size)
            return self._answer(shape, settings.get("dtype") or torch.float32, settings.get("device") or "cpu")
        if func is torch.randn_like:
            like = args[0] if args else settings["input"]
            return self._answer(
                tuple(like.shape), settings.get("dtype") or like.dtype, settings.get("device") or like.device
            )
        return func(*args, **settings)

    def _answer(self, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device | str) -> torch.Tensor:
        return noise_tensor(self._seed, self._image, next(self._draws), shape, dtype, device, self._purpose)


def noise_tensor(
    seed: int,
    image: int,
    draw: int,
    shape: tuple[int, ...],
    dtype: torch.dtype,
    device: torch.device | str,
    purpose: Purpose = Purpose.IMAGE,
) -> torch.Tensor:
    """Our noise as a tensor; the conversion from float32 rounds to nearest even everywhere."""
    return torch.from_numpy(normal(seed, image=image, draw=draw, shape=shape, purpose=purpose)).to(
        device=device, dtype=dtype
    )
