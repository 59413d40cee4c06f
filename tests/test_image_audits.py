"""The measurement of bands: what it keeps, and what it makes of it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("diffusers")

from benchmarks.image_audits.__main__ import bands
from benchmarks.image_audits.rates import cheats, honest
from benchmarks.image_audits.rows import COLUMNS, Record, errors_of, record_of, row_of
from benchmarks.image_audits.sizes import LATENT, STEPS

from crynux_validate import ImageTask, ModelRef
from crynux_validate.audits.image import SAME, Along, Errors
from crynux_validate.audits.proof import proof_size
from crynux_validate.audits.trace import Trace
from crynux_validate.calibration.audits.fitting import BEYOND, fit_images


def row(number: int, node: str, cheat: str | None = None, larger: float = 1.0) -> dict[str, Any]:
    """An audit of which the errors scatter around `larger`, and along guidance around 0."""
    numbers = np.random.default_rng([number, cheat is not None])
    size = larger + 0.1 * numbers.standard_normal() + 0.02 * numbers.standard_normal(20)
    aside = 0.05 * numbers.standard_normal((2, 20))
    return {
        "dtype": "bfloat16", "scheduler": "DDIMScheduler", "side": 64, "count": 20, "picture_number": number,
        "cheat": cheat, "node": node, "auditor": "native", "first": "MATCH", "picture": 0.25, "peak": 1,
        "rows": [[0.02, size[at], 0.3, 0.0, aside[0, at], aside[1, at], None] for at in range(20)],
    }  # fmt: skip


HONEST = [row(number, "ampere" if number % 2 else "hopper") for number in range(40)]


def test_a_record_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    record = Record([tmp_path / "record.jsonl"])
    record.add(HONEST[0])
    again = Record([tmp_path / "record.jsonl", tmp_path / "no such file"])
    assert again.rows == record.rows == [HONEST[0]]
    assert again.has(HONEST[0])
    assert not again.has({**HONEST[0], "auditor": "ampere"})
    assert not again.has({**HONEST[0], "cheat": "guidance-7"})


def test_a_row_holds_the_numbers_of_a_step() -> None:
    errors = Errors(
        equal=False, length=0.01, prediction=1.5, smooth=0.5, latent=0.0, guidance=Along(-0.25, 0.0),
        reuse=None, against=Along(0.125, 0.0),
    )  # fmt: skip
    assert len(row_of(errors) or ()) == len(COLUMNS)
    assert errors_of(row_of(errors), against=True) == errors
    assert errors_of(row_of(errors)).against is None
    assert errors_of(row_of(SAME)) == SAME


def test_a_band_has_the_scatter_between_pictures_and_between_steps() -> None:
    fit = bands(HONEST).images["bfloat16"]
    assert fit.kinds == (("ampere", "native"), ("hopper", "native"))
    assert (fit.pictures, fit.steps, fit.room) == (40, 800, 1.0)
    size = fit.statistics["prediction"]
    assert (size.centre, size.between, size.within) == pytest.approx((1.0, 0.1, 0.02), rel=0.3)
    assert size.reach > 5, "a quantile of Student's distribution at the wanted rate"
    mean, guidance = fit.means["prediction"], fit.means["guidance"]
    assert mean.limit(20) == pytest.approx(mean.limit(2), rel=0.1), "more steps of one picture do not help"
    assert guidance.limit(10) < 0.6 * guidance.limit(2)


def test_no_limit_is_near_to_an_honest_step() -> None:
    far = row(40, "ampere")
    far["rows"][3][1] = 9.0
    fit = fit_images([record_of(one) for one in (*HONEST, far)])
    size, mean = fit.statistics["prediction"], fit.means["prediction"]
    assert size.limit() == pytest.approx((9.0 - size.centre) * BEYOND["prediction"][0], rel=1e-3)
    assert mean.limit(5) < 0.2 * size.limit(), "one odd step condemns no mean"


def test_a_dtype_has_room_for_other_machines_where_cheats_are_far_off() -> None:
    cheat = row(100, "native", "int8-weights", larger=200.0)
    fit = bands([*HONEST, cheat]).images["bfloat16"]
    near = bands([*HONEST, cheat, row(101, "native", "guidance-7")]).images["bfloat16"]
    size = fit.statistics["prediction"]
    assert fit.room == pytest.approx((200 / (size.centre + size.limit())) ** 0.5, rel=0.01)
    assert near.room == 1.0


def test_rates_have_bounds_by_picture() -> None:
    rows = [*HONEST, *(row(100 + at, "native", "int8-weights", larger=3.0) for at in range(10))]
    found = bands(rows)
    own, apart = (line.split(" | ") for line in honest(found).splitlines()[-2:])
    assert own[:6] == ["| bfloat16", "from these", "40", "2", "800", "0"]
    assert float(own[6]) == pytest.approx(0.088, rel=0.01), "0 of 40 pictures"
    assert apart[2:5] == ["40", "2", "800"]
    assert "| bfloat16 | int8-weights | 10 | 0% | 100% (69.2 to 100)" in cheats(rows, found)


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
