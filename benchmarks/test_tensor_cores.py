"""What the arithmetic of a card costs on one thread: a product, 200 tokens of the small Llama, and a picture."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

torch = pytest.importorskip("torch")

import crynux_validate as cv  # noqa: E402
from crynux_validate.pipelines.noise import normal  # noqa: E402
from crynux_validate.testing import tensor_cores, tiny_image_model, tiny_text_model  # noqa: E402
from crynux_validate.testing.gpu.arithmetic import ARCHITECTURES, multiply  # noqa: E402

CARDS = ("ampere", "hopper", "cdna3")
SHAPE = (64, 512, 512)


@pytest.mark.parametrize(("name", "dtype"), [(name, d) for name, found in ARCHITECTURES.items() for d in found.at_once])
def test_product(benchmark: BenchmarkFixture, name: str, dtype: str) -> None:
    """A product of 64x512x512; ``ns_per_multiply_add`` is the best of all rounds."""
    m, k, n = SHAPE
    mask = np.uint32({"float16": 0xFFFFE000, "bfloat16": 0xFFFF0000, "tf32": 0xFFFFE000}[dtype])
    a, b = ((normal(seed, shape=shape).view(np.uint32) & mask).view(np.float32)
            for seed, shape in ((1, (m, k)), (2, (k, n))))  # fmt: skip
    benchmark(multiply, a, b, architecture=name, dtype=dtype)
    if benchmark.stats is not None:
        benchmark.extra_info["ns_per_multiply_add"] = benchmark.stats["min"] / (m * k * n) * 1e9


@pytest.mark.parametrize("name", CARDS)
def test_text(benchmark: BenchmarkFixture, tmp_path: Path, name: str) -> None:
    """200 tokens of the trained Llama in bfloat16, greedy; 5 where nothing is timed."""
    asked = [{"role": "user", "content": "And the king said unto his servants,"}]
    tokens = 200 if benchmark.enabled else 5
    model = tiny_text_model(tmp_path / "text")
    task = cv.TextTask(model=model, messages=asked, max_new_tokens=tokens, eos_token_ids=[])
    _run(benchmark, task, name, 3)


@pytest.mark.parametrize("name", CARDS)
def test_picture(benchmark: BenchmarkFixture, tmp_path: Path, name: str) -> None:
    """A picture of 128x128 in bfloat16, 25 steps; one of 64x64, one step, where nothing is timed."""
    steps, side = (25, 128) if benchmark.enabled else (1, 64)
    model = tiny_image_model(tmp_path / "image")
    task = cv.ImageTask(
        model=model, prompt="a big blue star on sand", seed=7, steps=steps, width=side, height=side, dtype="bfloat16"
    )
    _run(benchmark, task, name, 1)


def _run(benchmark: BenchmarkFixture, task: Any, name: str, rounds: int) -> None:
    with cv.Runner.for_task(task, "cpu") as runner, tensor_cores(name) as cores:
        timed: Any = benchmark
        timed.pedantic(runner.run, (task,), rounds=rounds)
    benchmark.extra_info["multiply_adds"] = cores.multiply_adds // rounds
