"""The runs: every way of writing, on every kind of fake hardware, and with every copy of the model.

What a token was chosen from is taken from the run itself: the decoding loop's logits are kept while it chooses. So
nothing is computed a second time, in another order than the loop's.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from unittest import mock

import numpy as np
import numpy.typing as npt

from benchmarks.divergence.copies import BITS, rounded_copy
from benchmarks.divergence.records import Beside, Measurements, Native
from crynux_validate import ModelRef, Runner, TextTask
from crynux_validate.testing import fake_hardware

Float32s = npt.NDArray[np.float32]

_SAMPLED: Final = {"do_sample": True, "temperature": 0.8, "top_k": 40}

WAYS: Final[Mapping[str, Mapping[str, Any]]] = {
    "float32, greedy": {"dtype": "float32"},
    "float32, sampled": {"dtype": "float32", **_SAMPLED},
    "bfloat16, greedy": {"dtype": "bfloat16"},
    "bfloat16, sampled": {"dtype": "bfloat16", **_SAMPLED},
}
"""How texts are written: fields of a task."""

SAMPLING: Final = "temperature 0.8, top_k 40"


@dataclass(frozen=True)
class Work:
    """What each machine does: the same prompts, as many tokens, where the native texts are kept, the ways to write."""

    prompts: list[str]
    tokens: int
    scratch: str
    ways: tuple[str, ...] = tuple(WAYS)

    def task(self, model: ModelRef, way: str, number: int) -> TextTask:
        """The task of a prompt, which has a seed of its own; it never ends before it has all of its tokens."""
        return TextTask(
            model=model,
            messages=[{"role": "user", "content": self.prompts[number]}],
            seed=number,
            max_new_tokens=self.tokens,
            eos_token_ids=[],
            **WAYS[way],
        )

    def kept(self, way: str, number: int) -> Path:
        """Where the native text and its logits are kept."""
        return Path(self.scratch) / f"{way}-{number}.npz"


def first_difference(one: Sequence[int], other: Sequence[int]) -> int | None:
    """Where two texts of equal length part, counted from 0; None where they are equal."""
    return next((at for at, (a, b) in enumerate(zip(one, other, strict=True)) if a != b), None)


def write_native(work: Work, model: ModelRef, way: str) -> list[Native]:
    """Write every text, and keep it with its logits. Runs in a worker."""
    found = []
    for number, task, ids, logits in _texts(work, model, way):
        np.savez(work.kept(way, number), ids=ids, logits=logits)
        chosen = [two_best(task, row, step) for step, row in enumerate(logits)]
        if [best for best, _ in chosen] != ids:
            raise RuntimeError(f"prompt {number}, {way}: the best tokens are not those that the run chose")
        found.append(Native([margin for _, margin in chosen], [entropy(row) for row in logits]))
    return found


def write_beside(work: Work, model: ModelRef, way: str) -> list[Beside]:
    """Write every text, and compare it with the native one. Runs in a worker."""
    found = []
    for number, _, ids, logits in _texts(work, model, way):
        with np.load(work.kept(way, number)) as native:
            first = first_difference(native["ids"].tolist(), ids)
            alike = len(ids) if first is None else first + 1
            apart = np.abs(native["logits"][:alike] - logits[:alike]).max()
        found.append(Beside(first, float(apart)))
    return found


def _texts(work: Work, model: ModelRef, way: str) -> Iterator[tuple[int, TextTask, list[int], Float32s]]:
    """Yield each prompt's number, task, new tokens, and the logits that each was chosen from."""
    with Runner.for_task(work.task(model, way, 0), "cpu") as runner:
        for number in range(len(work.prompts)):
            task = work.task(model, way, number)
            with _listening() as rows:
                result = runner.run(task)
            yield number, task, list(result.token_ids[0]), np.stack(rows)


@contextmanager
def _listening() -> Iterator[list[Float32s]]:
    """Keep the logits that the decoding loop chooses from."""
    from crynux_validate.pipelines.text.sampling import choose

    rows: list[Float32s] = []

    def keep(task: TextTask, chain: Any, logits: Float32s, *rest: Any) -> int:
        rows.append(logits.copy())
        return choose(task, chain, logits, *rest)

    with mock.patch("crynux_validate.pipelines.text.generating.choose", keep):
        yield rows


def two_best(task: TextTask, logits: Float32s, step: int) -> tuple[int, float]:
    """Return the token that the task chooses at a step, and how far the second best was behind."""
    from crynux_validate.pipelines.noise import gumbel, token_uniform
    from crynux_validate.pipelines.text.sampling import Candidates, warpers

    found = Candidates(np.arange(len(logits), dtype=np.int64), logits)
    for warper in warpers(task):
        found = warper(found, np.empty(0, dtype=np.int64))  # none of them looks at what was seen
    scores = found.scores.astype(np.float64)
    if task.do_sample:
        scores = scores + gumbel(token_uniform(task.seed, sequence=0, step=step, tokens=found.ids))
    second, best = np.partition(scores, -2)[-2:]
    return int(found.ids[scores.argmax()]), float(best - second)


def entropy(logits: Float32s) -> float:
    """Entropy of the softmax of logits, in nats."""
    shifted = logits.astype(np.float64) - float(logits.max())
    weights = np.exp(shifted)
    total = weights.sum()
    return float(np.log(total) - (weights * shifted).sum() / total)


def measure(model: ModelRef, work: Work) -> Measurements:
    """Do all runs, two processes at most at a time, each on one thread; each checks that it loads this very model."""
    native, *others = fake_hardware.kinds()
    written: dict[str, list[Native]] = {}
    with fake_hardware.Worker(native) as worker, ThreadPoolExecutor(2) as pool:
        for way in work.ways:
            written[way] = worker.run(write_native, work, model, way)
            _say("native", way)
        copying = pool.submit(_copies, worker, model, work)
        kinds = pool.map(lambda kind: _kind(kind, model, work), others)
        named = {kind.name: found for kind, found in zip(others, kinds, strict=True)}
        return Measurements(work.tokens, written, named, copying.result())


def _kind(kind: fake_hardware.NumericKind, model: ModelRef, work: Work) -> dict[str, list[Beside]]:
    with fake_hardware.Worker(kind) as worker:
        return _ways(worker, kind.name, model, work)


def _copies(worker: fake_hardware.Worker, model: ModelRef, work: Work) -> dict[str, dict[str, list[Beside]]]:
    found = {}
    for bits in BITS:
        name = f"int{bits}"
        copy = worker.run(rounded_copy, str(model.path), str(Path(work.scratch) / name), bits)
        found[name] = _ways(worker, name, ModelRef.local(copy), work)
    return found


def _ways(worker: fake_hardware.Worker, name: str, model: ModelRef, work: Work) -> dict[str, list[Beside]]:
    found = {}
    for way in work.ways:
        found[way] = worker.run(write_beside, work, model, way)
        _say(name, way)
    return found


def _say(*done: str) -> None:
    print(*done, sep=": ", file=sys.stderr, flush=True)
