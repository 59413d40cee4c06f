"""A tiny model and two other machines, shared by the tests of the pipelines."""

import importlib.util
from collections.abc import Iterator
from typing import Any

import pytest

from crynux_validate.tasks import ImageTask, ModelRef
from crynux_validate.testing import fake_hardware
from tests.pipelines import jobs

if not all(map(importlib.util.find_spec, ("torch", "diffusers", "transformers"))):
    collect_ignore = [
        "test_bits.py", "test_canary.py", "test_controlnet.py", "test_determinism.py", "test_end_tokens.py",
        "test_families.py", "test_image_audit.py", "test_loras.py", "test_margins.py", "test_parts.py",
        "test_passes.py", "test_runner.py", "test_sampling.py", "test_sdxl.py", "test_seeing.py",
        "test_start_pictures.py", "test_stored.py", "test_templates.py", "test_text.py", "test_text_audit.py",
        "test_text_models.py", "test_weights.py",
    ]  # fmt: skip

Machines = dict[str, fake_hardware.Worker]
OTHER_MACHINES = ("native", "oldest")


@pytest.fixture(scope="session")
def model(image_model: ModelRef) -> ModelRef:
    """A Stable Diffusion pipeline of random weights."""
    return image_model


@pytest.fixture(scope="session")
def task(model: ModelRef) -> ImageTask:
    """A small picture in few steps."""
    return ImageTask(model=model, prompt="a red cat", seed=7, steps=3, width=64, height=64)


@pytest.fixture(scope="session")
def machines(model: ModelRef, fake_hardware_workers: fake_hardware.Workers) -> Machines:
    """Another process of this kind of machine, and one that computes like a processor without AVX.

    Both load the model at once, while the tests go on.
    """
    found = {name: fake_hardware_workers[name] for name in OTHER_MACHINES}
    for worker in found.values():
        worker.submit(jobs.runner, model.path, "float32").add_done_callback(lambda done: done.exception())
    return found


@pytest.fixture(scope="session")
def runner(model: ModelRef) -> Iterator[Any]:
    """The tiny model, loaded in float32 on the CPU."""
    from crynux_validate.pipelines.runner import Runner

    with Runner(model, device="cpu") as loaded:
        yield loaded
