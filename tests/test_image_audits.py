"""The measurement of bands: what it keeps, and what it makes of it."""

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("diffusers")

from benchmarks.image_audits.__main__ import MARGINS, Record, bands
from benchmarks.image_audits.sizes import LATENT, STEPS

from crynux_validate import ImageTask, ModelRef
from crynux_validate.audits.bands import PARTS, SCHEMA
from crynux_validate.audits.proof import proof_size
from crynux_validate.audits.trace import Trace

STEP = {"prediction": 1e-6, "latent": 2e-7, "guidance": -3e-5, "reuse": None, "equal": False}


def row(node: str, auditor: str, cheat: str | None = None, **changed: Any) -> dict[str, Any]:
    step = STEP | changed
    return {
        "dtype": "float32", "scheduler": "DDIMScheduler", "prompt": "a", "cheat": cheat, "node": node,
        "auditor": auditor, "steps": [STEP, step], "equal": 0, "first": 0.0, "picture": 0.25, "peak": 1,
    }  # fmt: skip


def test_a_record_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    record = Record(tmp_path / "record.jsonl")
    record.add(row("a", "b"))
    again = Record(tmp_path / "record.jsonl")
    assert again.rows == record.rows == [row("a", "b")]
    assert again.has(row("a", "b"))
    assert not again.has(row("b", "a"))


def test_a_band_is_the_largest_distance_of_honest_machines_of_two_kinds(tmp_path: Path) -> None:
    record = Record(tmp_path / "record.jsonl")
    for one in (
        row("a", "b"), row("b", "a", prediction=4e-6, reuse=-5e-6), row("a", "c"), row("a", "a", prediction=9.0),
        row("a", "b", cheat="guidance 5", prediction=9.0),
    ):  # fmt: skip
        record.add(one)
    found = json.loads(bands(record))
    assert found["schema"] == SCHEMA
    assert found["margins"] == {"float32": MARGINS["float32"]}
    assert set(MARGINS["float32"]) == set(PARTS)
    assert found["bands"] == [
        {
            "dtype": "float32", "scheduler": "DDIMScheduler", "kinds": ["a", "b"], "prediction": 4e-6, "latent": 2e-7,
            "guidance": 3e-5, "reuse": 5e-6, "picture": 0.25, "peak": 1, "steps": 4,
        },
        {
            "dtype": "float32", "scheduler": "DDIMScheduler", "kinds": ["a", "c"], "prediction": 1e-6, "latent": 2e-7,
            "guidance": 3e-5, "reuse": 0.0, "picture": 0.25, "peak": 1, "steps": 2,
        },
    ]  # fmt: skip


def test_the_sizes_that_the_documentation_states() -> None:
    model = ModelRef("stabilityai/stable-diffusion-xl-base-1.0", revision="0" * 40)
    task = ImageTask(model=model, prompt="a", steps=50, width=1024, height=1024, binding="trace")
    for dtype, scheduler, images, trace, proof in [
        ("float16", "EulerDiscreteScheduler", 1, 15.6, 5.75),
        ("float16", "UniPCMultistepScheduler", 1, 21.9, 10.0),
        ("float32", "EulerDiscreteScheduler", 1, 28.2, 8.5),
        ("float32", "UniPCMultistepScheduler", 1, 40.8, 17.0),
        ("float32", "EulerDiscreteScheduler", 4, 113.0, 8.5),
        ("float32", "UniPCMultistepScheduler", 4, 163.0, 17.0),
    ]:
        asked = task.replace(dtype=dtype, scheduler=scheduler, images=images)
        assert round(Trace(asked, LATENT).size / 2**20, 1) == trace
        assert proof_size(asked, 0, list(STEPS), LATENT) / 2**20 == pytest.approx(proof, abs=0.005)
