"""Cheap copies of a model: what a node might run to save memory and time, and claim that it ran the model."""

import shutil
from pathlib import Path
from typing import Final

from attacks.rounding import rounded

BITS: Final = (8, 4)

_WHOLE: Final = ("embed_tokens", "lm_head")
"""Matrices that stay as they are, as in the copies that are in use: so a copy is as hard to tell as it can be."""


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
