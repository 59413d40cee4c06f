"""What fake-hardware workers run for these tests; a worker finds it by its name."""

import functools
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from crynux_validate.pipelines.noise import normal
from crynux_validate.tasks import Dtype, ImageTask, ModelRef, PictureRef, QuantizeBits, TextTask, task_from_json


@functools.cache
def runner(folder: Path, dtype: Dtype) -> Any:
    from crynux_validate.pipelines.runner import Runner

    return Runner(ModelRef.local(folder), dtype=dtype, device="cpu")


def draw(folder: Path, text: str) -> dict[str, Any]:
    """Run a task, given as JSON, on the model in a folder."""
    task = task_from_json(text)
    result = runner(folder, task.dtype).run(task.replace(model=task.model.at(folder)))
    return {
        "pixels": [np.asarray(image) for image in result.images],
        "score": result.score,
        "kernel": result.environment.kernel_digest,
        "numerics": result.environment.numerics_digest,
        "recipe": result.environment.recipe_digest,
    }


def numbers() -> dict[str, bytes]:
    """Bits of our noise, and of torch's own, drawn in the same way."""
    import torch

    own = torch.randn(1, 4, 64, 64, generator=torch.Generator("cpu").manual_seed(42))
    shapes = [(1, 4, 64, 64), (3, 5), (70_001,)]
    values = b"".join(
        normal(seed, image=1, draw=2, shape=shape).tobytes() for seed in (42, 2**53 - 1) for shape in shapes
    )
    return {"ours": values, "torch": own.numpy().tobytes()}


@functools.cache
def text_runner(folder: Path, dtype: Dtype, bits: QuantizeBits) -> Any:
    from crynux_validate.pipelines.runner import Runner

    return Runner(ModelRef.local(folder), "text", dtype, device="cpu", quantize_bits=bits)


def small_weights(folder: Path) -> str:
    """A digest of the weights that a model in a folder has in 4 and 8 bits."""
    found = hashlib.sha256()
    for bits in (4, 8):
        for name, buffer in text_runner(folder, "bfloat16", bits)._loaded.model.named_buffers():
            if name.endswith(("codes", "scales")):
                found.update(buffer.numpy().tobytes())
    return found.hexdigest()


def write(folder: Path, text: str, pictures: Sequence[bytes] = ()) -> dict[str, Any]:
    """Run a text task, given as JSON, on the model in a folder, with the files of its pictures."""
    task = task_from_json(text)
    assert isinstance(task, TextTask)
    task = task.replace(model=task.model.at(folder), pictures=[PictureRef.of(data) for data in pictures])
    result = text_runner(folder, task.dtype, task.quantize_bits).run(task)
    environment = result.environment
    return {"tokens": result.token_ids, "texts": result.texts, "score": result.score, "environment": environment}


def draw_traced(folder: Path, text: str) -> tuple[Any, Any]:
    """Run a task that binds its trace; return the answer and the proof of all steps of its first image."""
    task = task_from_json(text)
    assert isinstance(task, ImageTask)
    result = runner(folder, task.dtype).run(task.replace(model=task.model.at(folder)))
    return result.score, result.trace.prove(0, range(task.steps))


def draw_with_parts(folders: list[Path], text: str) -> dict[str, Any]:
    """Run a task, given as JSON, whose model and parts lie in these folders."""
    from crynux_validate.pipelines.runner import run

    task = task_from_json(text)
    assert isinstance(task, ImageTask)
    result = run(task.at(*folders), "cpu")
    return {
        "pixels": [np.asarray(image) for image in result.images],
        "score": result.score,
        "recipe": result.environment.recipe_digest,
    }
