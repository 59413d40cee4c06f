"""What an audit of a text costs beside writing it, and what binding the largest logits costs.

The same machine, one thread, processor time. Rounds take turns, and medians are compared, so that a busy machine slows
all. With ``--benchmark-enable -s`` the ratios are printed.
"""

import os
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from crynux_validate.audits.text_proof import TextProof
from crynux_validate.audits.top import audit_positions
from crynux_validate.pipelines.runner import Runner
from crynux_validate.pipelines.text.audit import TextAuditor
from crynux_validate.tasks import ModelRef, TextTask
from crynux_validate.testing import tiny_text_model

MODEL = "CRYNUX_VALIDATE_BENCHMARK_MODEL"
"""The environment variable that names the folder of another model."""

SEED = b"a beacon's value"
NEW_TOKENS = 200
UNTIMED_TOKENS = 40
"""How many are written where nothing is timed."""


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> TextTask:
    """A text, drawn."""
    tokens = NEW_TOKENS if request.config.getoption("benchmark_enable") else UNTIMED_TOKENS
    folder = os.environ.get(MODEL)
    model = tiny_text_model(tmp_path_factory.mktemp("models") / "tiny") if folder is None else ModelRef.local(folder)
    asked = [{"role": "user", "content": "And the king said unto his servants,"}]
    return TextTask(
        model=model, messages=asked, do_sample=True, temperature=0.8, top_k=40, max_new_tokens=tokens,
        eos_token_ids=[],
    )  # fmt: skip


@pytest.fixture(scope="module")
def runner(task: TextTask) -> Iterator[Runner]:
    """The model as a node has it."""
    with Runner.for_task(task, "cpu") as loaded:
        yield loaded


@pytest.fixture(scope="module")
def auditor(task: TextTask) -> Iterator[TextAuditor]:
    """The reference."""
    with TextAuditor.for_task(task, "cpu") as loaded:
        yield loaded


def seconds(run: Callable[[], object]) -> float:
    """Processor time of one call."""
    start = time.process_time()
    run()
    return time.process_time() - start


def test_the_ratios(runner: Runner, auditor: TextAuditor, task: TextTask, request: pytest.FixtureRequest) -> None:
    """An audit beside writing; no time limit, since machines differ."""
    rounds = 9 if request.config.getoption("benchmark_enable") else 1
    bound = task.replace(binding="top")
    plain, full = runner.run(task), runner.run(bound)
    assert full.top is not None
    places = audit_positions(SEED, bound, full.score, full.token_ids)
    proof = TextProof(bound.digest, full.token_ids, full.top.open(places))
    ways: dict[str, Callable[[], Any]] = {
        "writing": lambda: runner.run(task),
        "writing, top bound": lambda: runner.run(bound),
        "audit": lambda: auditor.audit(task, plain.score, TextProof(task.digest, plain.token_ids)),
        "audit, top bound": lambda: auditor.audit(bound, full.score, proof, seed=SEED),
    }
    times = [[seconds(way) for way in ways.values()] for _ in range(rounds)]
    medians = dict(zip(ways, map(statistics.median, zip(*times, strict=True)), strict=True))
    print()
    for name, found in medians.items():
        print(f"{name}: {found * 1e3:.0f} ms, {found / medians['writing']:.3f} of writing")
    within = [top / tokens for tokens, top, *_ in times]
    print(f"top bound beside tokens alone, round by round: {statistics.median(within):.3f}")
    assert min(medians.values()) > 0
    assert Path(task.model.path or "").is_dir()
