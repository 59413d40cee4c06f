"""What the guard, our noise and the checks cost: our runner against a plain diffusers call of the same work.

One thread each, the same model, prompt, steps and size. Rounds take turns, and medians are compared, so that a busy
machine slows both.
"""

import statistics
import time
from collections.abc import Callable, Iterator

import pytest

torch = pytest.importorskip("torch")
diffusers = pytest.importorskip("diffusers")

from crynux_validate.pipelines.determinism import deterministic
from crynux_validate.pipelines.models import quiet
from crynux_validate.pipelines.noise import normal
from crynux_validate.pipelines.runner import Runner
from crynux_validate.tasks import ImageTask
from crynux_validate.testing import tiny_image_model

# numpy 2 tells diffusers about its own code.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

SDXL_LATENTS = (1, 4, 128, 128)


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> ImageTask:
    """A picture of the size that the tiny model is made for."""
    model = tiny_image_model(tmp_path_factory.mktemp("models") / "tiny")
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
    with quiet():
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


@pytest.mark.benchmark(group="image")
def test_our_runner(benchmark, ours):
    benchmark(ours)


@pytest.mark.benchmark(group="image")
def test_plain_diffusers(benchmark, plain):
    benchmark(plain)


@pytest.mark.benchmark(group="guard")
def test_the_guard_alone(benchmark):
    def enter() -> None:
        with deterministic():
            pass

    benchmark(enter)


@pytest.mark.benchmark(group="noise")
def test_noise_for_sdxl(benchmark):
    benchmark(lambda: normal(7, shape=SDXL_LATENTS))


def test_the_cost_of_the_guard(ours, plain, request):
    """Measured with ``--benchmark-enable``, goal within 10%; otherwise it only runs. No time limit: machines differ."""
    rounds = 15 if request.config.getoption("benchmark_enable") else 1
    pairs = [(seconds(ours), seconds(plain)) for _ in range(rounds + 1)][1:]
    own, other = (statistics.median(times) for times in zip(*pairs, strict=True))
    print(f"\nours {own * 1e3:.1f} ms, plain diffusers {other * 1e3:.1f} ms: {own / other:.3f}")
    assert own > 0
    assert other > 0
