"""What the canary costs: a node answers one in every epoch, beside its tasks."""

from typing import Any

import pytest

pytest.importorskip("torch")

from crynux_validate.errors import FakeHardwareError
from crynux_validate.pipelines.canary import canary
from crynux_validate.testing.fake_hardware import Workers


@pytest.mark.benchmark(group="canary on one thread of a CPU")
@pytest.mark.parametrize("kind", ["native", "oldest"])
def test_canary(kind: str, benchmark: Any) -> None:
    """In a process of its own, with what it takes to reach that; the slowest kind is the one without AVX."""
    try:
        workers = Workers()
    except FakeHardwareError as error:
        pytest.skip(str(error))
    with workers:
        worker = workers[kind]
        # The first call enters the guard for the first time, which loads what torch needs for that.
        expected = worker.run(canary, b"a challenge", "cpu")
        assert benchmark(worker.run, canary, b"a challenge", "cpu") == expected
