"""What the guard, our noise and the checks cost: our runner against a plain diffusers call of the same work.

One thread each, the same model, prompt, steps and size. Rounds take turns, and medians are compared, so that a busy
machine slows both. Diffusers is timed twice: with torch's fused attention kernel, which the guard uses as well, and
with the plain formula, to show what that would cost.
"""

import statistics
import time
from collections.abc import Callable, Iterator

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

torch = pytest.importorskip("torch")
diffusers = pytest.importorskip("diffusers")

from torch.nn.attention import SDPBackend, sdpa_kernel  # noqa: E402

from crynux_validate.pipelines.guard.determinism import deterministic  # noqa: E402
from crynux_validate.pipelines.models.loading import quiet  # noqa: E402
from crynux_validate.pipelines.noise import normal  # noqa: E402
from crynux_validate.pipelines.runner import Runner  # noqa: E402
from crynux_validate.tasks import ImageTask  # noqa: E402
from crynux_validate.testing import tiny_image_model  # noqa: E402

# numpy 2 tells diffusers about its own code.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

SDXL_LATENTS = (1, 4, 128, 128)


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> ImageTask:
    """A picture of the size that the tiny model is made for."""
    model = tiny_image_model(tmp_path_factory.mktemp("models") / "tiny", random=True)
    return ImageTask(
        model=model,
        prompt="a red cat",
        seed=7,
        steps=10,
        width=256,
        height=256,
        scheduler="EulerAncestralDiscreteScheduler",
    )


@pytest.fixture(scope="module")
def ours(task: ImageTask) -> Iterator[Callable[[], object]]:
    """Run the task as this library does."""
    with Runner.for_task(task, "cpu") as runner:
        yield lambda: runner.run(task)


@pytest.fixture(scope="module")
def plain(task: ImageTask) -> Iterator[Callable[[], object]]:
    """Run the same work as the documentation of diffusers does, on one thread."""
    with quiet("transformers", "diffusers"):
        pipeline = diffusers.StableDiffusionPipeline.from_pretrained(
            task.model.path,
            dtype=torch.float32,
            use_safetensors=True,
            safety_checker=None,
            requires_safety_checker=False,
        )
        pipeline.scheduler = getattr(diffusers, task.scheduler).from_config(pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)

    def run() -> object:
        return pipeline(
            task.prompt,
            num_inference_steps=task.steps,
            width=task.width,
            height=task.height,
            guidance_scale=task.guidance_scale,
            generator=torch.Generator("cpu").manual_seed(task.seed),
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


def math_attention(run: Callable[[], object]) -> None:
    """Run with the plain formula of attention."""
    with sdpa_kernel(SDPBackend.MATH):
        run()


@pytest.mark.benchmark(group="image")
def test_our_runner(benchmark: BenchmarkFixture, ours: Callable[[], object]) -> None:
    """The whole run, with hashes and digests."""
    benchmark(ours)


@pytest.mark.benchmark(group="image")
def test_plain_diffusers(benchmark: BenchmarkFixture, plain: Callable[[], object]) -> None:
    """The same work with diffusers alone."""
    benchmark(plain)


@pytest.mark.benchmark(group="image")
def test_plain_diffusers_with_plain_attention(benchmark: BenchmarkFixture, plain: Callable[[], object]) -> None:
    """The same work with diffusers alone, and the plain formula of attention."""
    benchmark(math_attention, plain)


@pytest.mark.benchmark(group="guard")
def test_the_guard_alone(benchmark: BenchmarkFixture) -> None:
    """Setting, checking and restoring every switch."""

    def enter() -> None:
        with deterministic():
            pass

    benchmark(enter)


@pytest.mark.benchmark(group="noise")
def test_noise_for_sdxl(benchmark: BenchmarkFixture) -> None:
    """The latents of a picture of 1024x1024."""
    benchmark(lambda: normal(7, shape=SDXL_LATENTS))


def test_the_cost_of_the_guard(
    ours: Callable[[], object], plain: Callable[[], object], request: pytest.FixtureRequest
) -> None:
    """Print the ratios with ``--benchmark-enable -s``; otherwise it only runs. No time limit: machines differ."""
    rounds = 9 if request.config.getoption("benchmark_enable") else 1
    ways: list[Callable[[], object]] = [ours, plain, lambda: math_attention(plain)]
    times = [[seconds(way) for way in ways] for _ in range(rounds)]
    own, fused, unfused = (statistics.median(column) for column in zip(*times, strict=True))
    print(f"\nours {own * 1e3:.0f} ms; diffusers {fused * 1e3:.0f} ms, with plain attention {unfused * 1e3:.0f} ms")
    print(f"ratios {own / fused:.3f} and {own / unfused:.3f}")
    assert min(own, fused, unfused) > 0
