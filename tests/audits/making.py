"""Traces of random numbers, made without a model."""

from typing import Any

import numpy as np

import crynux_validate as cv
from crynux_validate.audits.layout import Content, leaves_of, size_of
from crynux_validate.audits.trace import Trace

LATENT = (4, 8, 8)
TASK = cv.ImageTask(
    model=cv.ModelRef("stabilityai/sdxl-turbo", revision="0123456789abcdef0123456789abcdef01234567"),
    prompt="a red cat",
    width=64,
    height=64,
    steps=6,
    images=2,
    binding="trace",
)


def random_trace(task: cv.ImageTask = TASK, latent: tuple[int, int, int] = LATENT, seed: int = 1) -> Trace:
    """A trace that fits the task, of numbers that fit nothing."""
    numbers = np.random.default_rng(seed)
    trace = Trace(task, latent)
    for leaf in leaves_of(task):
        size = size_of(task, leaf, latent)
        trace.append(numbers.bytes(size) if leaf.content is Content.PIXELS else _values(numbers, task.dtype, size))
    return trace


def _values(numbers: np.random.Generator, dtype: str, size: int) -> bytes:
    if dtype == "float16":
        return numbers.standard_normal(size // 2).astype("<f2").tobytes()
    wide: Any = numbers.standard_normal(size // (2 if dtype == "bfloat16" else 4)).astype("<f4")
    kept: bytes = (wide if dtype == "float32" else (wide.view("<u4") >> 16).astype("<u2")).tobytes()
    return kept


def answer_of(trace: Trace) -> cv.ImageScore:
    """An answer that binds it."""
    return cv.ImageScore(bytes.fromhex("f0f0f0f00f0f0f0f") * trace.task.images, trace.root)
