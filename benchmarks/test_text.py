"""What text costs: our decoding loop against transformers' own, bound logits, and choosing a token.

One thread each, the same model, prompt and number of tokens. Rounds take turns, and medians are compared, so that a
busy machine slows both.
"""

import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from crynux_validate.answers import logits_digest  # noqa: E402
from crynux_validate.pipelines.models.loading import quiet  # noqa: E402
from crynux_validate.pipelines.runner import Runner  # noqa: E402
from crynux_validate.pipelines.text.sampling import choose, warpers  # noqa: E402
from crynux_validate.tasks import TextTask  # noqa: E402
from crynux_validate.testing import tiny_text_model  # noqa: E402

VOCABULARY = 151_936
NEW_TOKENS = 100


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> TextTask:
    """A hundred tokens of the tiny model."""
    model = tiny_text_model(tmp_path_factory.mktemp("models") / "tiny", random=True)
    prompt = "what is the sea?"
    return TextTask(model=model, prompt=prompt, max_new_tokens=NEW_TOKENS, eos_token_ids=[])


@pytest.fixture(scope="module")
def runner(task: TextTask) -> Iterator[Runner]:
    """The tiny model, loaded."""
    with Runner.for_task(task, "cpu") as loaded:
        yield loaded


@pytest.fixture(scope="module")
def plain(task: TextTask) -> Iterator[Callable[[bool], object]]:
    """The same work as the documentation of transformers does it, on one thread."""
    with quiet("transformers"):
        tokenizer: Any = transformers.AutoTokenizer.from_pretrained(task.model.path)
        model: Any = transformers.AutoModelForCausalLM.from_pretrained(task.model.path, dtype=torch.bfloat16).eval()
    ids = tokenizer(task.prompt, return_tensors="pt").input_ids

    def run(sample: bool) -> object:
        torch.manual_seed(1)
        return model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=NEW_TOKENS,
            do_sample=sample,
            top_k=0,
            eos_token_id=None,
            pad_token_id=0,
        )

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield run
    torch.set_num_threads(threads)


def seconds(run: Callable[[], object]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


@pytest.mark.benchmark(group="text: 100 tokens")
@pytest.mark.parametrize("settings", [{}, {"do_sample": True}, {"binding": "logits"}], ids=str)
def test_our_loop(benchmark: BenchmarkFixture, runner: Runner, task: TextTask, settings: dict[str, Any]) -> None:
    """The whole run, with the guard and the score."""
    benchmark(runner.run, task.replace(**settings))


@pytest.mark.benchmark(group="text: 100 tokens")
@pytest.mark.parametrize("sample", [False, True])
def test_plain_transformers(benchmark: BenchmarkFixture, plain: Callable[[bool], object], sample: bool) -> None:
    """The same work with transformers alone."""
    benchmark(plain, sample)


def test_the_ratios(
    runner: Runner, plain: Callable[[bool], object], task: TextTask, request: pytest.FixtureRequest
) -> None:
    """Print the ratios with ``--benchmark-enable -s``; otherwise it only runs. No time limit: machines differ."""
    rounds = 11 if request.config.getoption("benchmark_enable") else 1
    sampled, bound = task.replace(do_sample=True), task.replace(binding="logits")
    ways: dict[str, Callable[[], object]] = {
        "greedy": lambda: runner.run(task),
        "transformers, greedy": lambda: plain(False),
        "sampled": lambda: runner.run(sampled),
        "transformers, sampled": lambda: plain(True),
        "logits bound": lambda: runner.run(bound),
    }
    times = [[seconds(way) for way in ways.values()] for _ in range(rounds)]
    medians = dict(zip(ways, map(statistics.median, zip(*times, strict=True)), strict=True))
    print()
    for ours, beside in (("greedy",) * 2, ("sampled",) * 2, ("logits bound", "")):
        theirs = f"transformers, {beside}" if beside else "greedy"
        ratio = medians[ours] / medians[theirs]
        print(f"{ours} {medians[ours] * 1e3:.0f} ms; {theirs} {medians[theirs] * 1e3:.0f} ms: {ratio:.3f}")
    assert min(medians.values()) > 0


@pytest.mark.benchmark(group=f"choosing one of {VOCABULARY} tokens")
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"do_sample": True},
        {"do_sample": True, "top_k": 50, "top_p": 0.95, "temperature": 0.7},
        {"do_sample": True, "top_p": 0.95},
        {"do_sample": True, "typical_p": 0.9},
        {"repetition_penalty": 1.1},
    ],
    ids=str,
)
def test_choosing(benchmark: BenchmarkFixture, task: TextTask, settings: dict[str, Any]) -> None:
    """On the host, beside the model's own time for a token."""
    asked = task.replace(**settings)
    logits = (np.random.default_rng(1).standard_normal(VOCABULARY) * 3).astype(np.float32)
    seen = np.arange(500)
    chain = warpers(asked)
    benchmark(lambda: choose(asked, chain, logits, seen, 0, 0))


@pytest.mark.benchmark(group=f"choosing one of {VOCABULARY} tokens")
def test_binding_logits(benchmark: BenchmarkFixture) -> None:
    """The digest of a row."""
    row = bytes(4 * VOCABULARY)
    benchmark(logits_digest, row)
