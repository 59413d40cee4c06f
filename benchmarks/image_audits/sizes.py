"""What a trace of SDXL takes, of random numbers: ``python -m benchmarks.image_audits.sizes``."""

import resource
import tempfile
import time
from multiprocessing import get_context
from pathlib import Path

import numpy as np

import crynux_validate as cv
from crynux_validate.audits.layout import Content, leaves_of, size_of
from crynux_validate.audits.proof import TraceProof
from crynux_validate.audits.trace import Trace

LATENT = (4, 128, 128)
STEPS = (3, 11, 19, 30, 44)


def main() -> None:
    """Print a row for each dtype and scheduler."""
    print(
        "| dtype | scheduler | images | trace | bound in | memory grew by | saved in | proof of 5 steps | checked in |"
    )
    print("|---|---|---|---|---|---|---|---|---|", flush=True)
    model = cv.ModelRef("stabilityai/stable-diffusion-xl-base-1.0", revision="0" * 40)
    task = cv.ImageTask(model=model, prompt="a", steps=50, width=1024, height=1024, binding="trace")
    for dtype in ("float16", "float32"):
        for scheduler in ("EulerDiscreteScheduler", "UniPCMultistepScheduler"):
            for images in (1, 4):
                asked = task.replace(dtype=dtype, scheduler=scheduler, images=images)
                measured = get_context("spawn").Process(target=row, args=(asked,))  # a process has one peak of memory
                measured.start()
                measured.join()


def row(task: cv.ImageTask) -> None:
    """Measure one task."""
    numbers = np.random.default_rng(1)
    kept = {size: numbers.standard_normal(size // 4).astype("<f2").tobytes() * 2 for size in (2**17, 2**18)}
    picture = numbers.bytes(3 * 2**20)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    trace, spent = Trace(task, LATENT), time.perf_counter()
    for leaf in leaves_of(task):
        trace.append(picture if leaf.content is Content.PIXELS else kept[size_of(task, leaf, LATENT)])
    answer = cv.ImageScore(bytes(8 * task.images), trace.root)
    bound = time.perf_counter() - spent
    grew = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    with tempfile.TemporaryDirectory() as folder:
        spent = time.perf_counter()
        trace.save(Path(folder) / "trace.bin")
        saved = time.perf_counter() - spent
    data = trace.prove(0, STEPS).to_bytes()
    spent = time.perf_counter()
    TraceProof.from_bytes(data, task).check(answer)
    checked = time.perf_counter() - spent
    size, shown = f"{trace.size / 2**20:.1f} MiB", f"{len(data) / 2**20:.2f} MiB"
    cells = (task.dtype, task.scheduler, task.images, size, f"{bound:.2f} s", f"{grew / 2**10:.0f} MiB")
    print(f"| {' | '.join(map(str, cells))} | {saved:.2f} s | {shown} | {checked:.2f} s |", flush=True)


if __name__ == "__main__":
    main()
