"""What binding a trace and auditing it cost, in processor time: ``python -m benchmarks.image_audits.speed``."""

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import crynux_validate as cv
from crynux_validate.audits.steps import audit_steps
from crynux_validate.testing import tiny_image_model

PAIRS = 15
COUNT = 5


def main() -> None:
    """Run pairs, one beside the other, and print the medians."""
    with tempfile.TemporaryDirectory() as folder:
        model = tiny_image_model(Path(folder) / "model")
        plain = cv.ImageTask(model=model, prompt="a big blue star on sand", seed=7, width=128, height=128, steps=20)
        task = plain.replace(binding="trace")
        with cv.Runner.for_task(task, "cpu") as runner:
            result = runner.run(task)
            runner.run(plain)
            assert result.trace is not None
            steps = audit_steps(b"seed", task, result.score, COUNT)[0]
            proof, bare = result.trace.prove(0, steps), result.trace.prove(0, steps, pixels=False)
            settings: Any = {"seed": b"seed", "count": COUNT}
            runs, traced, audits, without = [], [], [], []
            for _ in range(PAIRS):
                runs.append(spent(lambda: runner.run(plain)))
                traced.append(spent(lambda: runner.run(task)))
                audits.append(spent(lambda: runner.audit(task, result.score, proof, **settings)))
                without.append(spent(lambda: runner.audit(task, result.score, bare, **settings)))
    ratios = [b / a for a, b in zip(runs, traced, strict=True)]
    run, audit, bare_audit = statistics.median(runs), statistics.median(audits), statistics.median(without)
    print(
        f"a run of 20 steps takes {run:.2f} s of processor time; with its trace {statistics.median(ratios):.3f} times,"
    )
    print(f"pairs from {min(ratios):.3f} to {max(ratios):.3f}")
    print(f"an audit of {COUNT} steps takes {audit:.2f} s, without the picture {bare_audit:.2f} s:")
    print(f"{bare_audit / run * 20 / COUNT:.2f} times the share of the evaluations")


def spent(work: Callable[[], object]) -> float:
    """The processor time of something."""
    start = time.process_time()
    work()
    return time.process_time() - start


if __name__ == "__main__":
    main()
