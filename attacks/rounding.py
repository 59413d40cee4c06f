"""Weights of fewer bits: what a node might run to save memory and time, and claim that it ran the model."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from attacks.machine import Change

Float32s = npt.NDArray[np.float32]


def rounded(matrix: Float32s, bits: int) -> Float32s:
    """Round the weights of each row to whole multiples of the row's step, as integers of that many bits hold them.

    The step is the row's largest absolute value divided by the largest integer, 127 or 7; so a row has at most 255 or
    15 different values, and they lie evenly around 0.
    """
    largest = 2 ** (bits - 1) - 1
    step = np.abs(matrix).max(axis=1, keepdims=True) / np.float32(largest)
    step[step == 0] = 1
    return np.asarray(np.round(matrix / step) * step, dtype=np.float32)


def rounded_weights(bits: int) -> Change:
    """Return the change that rounds the weights of all linear layers and convolutions, a row for each output."""

    @contextmanager
    def change(module: Any) -> Iterator[None]:
        import torch

        kept = []
        with torch.no_grad():
            for layer in module.modules():
                if isinstance(layer, torch.nn.Linear | torch.nn.Conv2d):
                    weight = layer.weight
                    kept.append((weight, weight.data))
                    rows = weight.data.float().cpu().numpy().reshape(len(weight), -1)
                    weight.data = torch.from_numpy(rounded(rows, bits)).view(weight.shape).to(weight.data)
        try:
            yield
        finally:
            for weight, data in kept:
                weight.data = data

    return change
