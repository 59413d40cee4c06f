"""Cheap copies of a model: what a node might run to save memory and time, and claim that it ran the model."""

import shutil
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

Float32s = npt.NDArray[np.float32]

BITS: Final = (8, 4)

_WHOLE: Final = ("embed_tokens", "lm_head")
"""Matrices that stay as they are, as in the copies that are in use: so a copy is as hard to tell as it can be."""


def rounded(matrix: Float32s, bits: int) -> Float32s:
    """Round the weights of each row to whole multiples of the row's step, as integers of that many bits hold them.

    The step is the row's largest absolute value divided by the largest integer, 127 or 7; so a row has at most 255 or
    15 different values, and they lie evenly around 0.
    """
    largest = 2 ** (bits - 1) - 1
    step = np.abs(matrix).max(axis=1, keepdims=True) / np.float32(largest)
    step[step == 0] = 1
    return np.asarray(np.round(matrix / step) * step, dtype=np.float32)


def rounded_copy(folder: str, target: str, bits: int) -> str:
    """Copy a model's folder and round the matrices of its blocks; norms and embeddings stay. Returns the new folder."""
    import torch
    from safetensors.torch import load_file, save_file

    shutil.copytree(folder, target, ignore=shutil.ignore_patterns(".*"))
    for file in Path(target).glob("*.safetensors"):
        weights = {name: weight.to(torch.float32) for name, weight in load_file(file).items()}
        for name, weight in weights.items():
            if weight.ndim == 2 and not any(part in name for part in _WHOLE):
                weights[name] = torch.from_numpy(rounded(weight.numpy(), bits))
        file.unlink()
        save_file(weights, file, metadata={"format": "pt"})
    return target
