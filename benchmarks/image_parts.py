"""The time to a first picture with parts beside the model, here and in plain diffusers with peft.

    python -m benchmarks.image_parts [--rounds 9]

One process, one thread, one small model of random weights: load it with its parts, draw one step, free it. Rounds take
turns, and what is compared is the processor's time. Needs peft.
"""

import argparse
import gc
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import torch

from crynux_validate.pipelines.models.loading import quiet
from crynux_validate.pipelines.runner import run
from crynux_validate.tasks import ImageTask
from crynux_validate.testing import tiny_image_model, tiny_lora, tiny_textual_inversion


def main() -> None:
    """Print a row for each set of parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    print("| parts | diffusers | here | ratio (median of the rounds) |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as scratch, quiet("transformers", "diffusers"):
        for name, task in _tasks(Path(scratch)).items():
            found: dict[str, list[float]] = {"diffusers": [], "here": []}
            ways = {"diffusers": _diffusers, "here": _here}
            for number in range(rounds + 1):
                for way in sorted(ways, reverse=bool(number % 2)):
                    seconds = _timed(ways[way], task)
                    if number:  # the first round warms up
                        found[way].append(seconds)
            ratio = statistics.median(b / a for a, b in zip(found["diffusers"], found["here"], strict=True))
            theirs, ours = (1_000 * statistics.median(found[way]) for way in ("diffusers", "here"))
            print(f"| {name} | {theirs:.0f} ms | {ours:.0f} ms | {ratio:.2f} |", flush=True)


def _tasks(folder: Path) -> dict[str, ImageTask]:
    model = tiny_image_model(folder / "model", random=True)
    plain = ImageTask(model=model, prompt="a red cat", seed=7, steps=1, width=256, height=256)
    loras = [tiny_lora(folder / f"lora-{seed}", model, seed=seed) for seed in (0, 1)]
    thing = tiny_textual_inversion(folder / "thing", model)
    return {
        "none": plain,
        "two LoRAs": plain.replace(loras=loras),
        "a textual inversion": plain.replace(prompt="a red <thing>", textual_inversions=[thing]),
    }


def _timed(action: Callable[[ImageTask], Any], task: ImageTask) -> float:
    gc.collect()
    start = time.process_time()
    action(task)
    return time.process_time() - start


def _here(task: ImageTask) -> None:
    run(task, "cpu")


def _diffusers(task: ImageTask) -> None:
    library: Any = diffusers
    pipeline = library.StableDiffusionPipeline.from_pretrained(
        task.model.path, dtype=torch.float32, use_safetensors=True, safety_checker=None, requires_safety_checker=False
    )
    pipeline.set_progress_bar_config(disable=True)
    names = [f"lora-{at}" for at in range(len(task.loras))]
    for name, lora in zip(names, task.loras, strict=True):
        pipeline.load_lora_weights(lora.model.path, weight_name=lora.file, adapter_name=name)
    if names:
        pipeline.set_adapters(names, [lora.weight for lora in task.loras])
        pipeline.fuse_lora(adapter_names=names)
    for inversion in task.textual_inversions:
        pipeline.load_textual_inversion(str(inversion.model.path / inversion.file), token=inversion.token)  # type: ignore[operator]
    pipeline(
        task.prompt, width=task.width, height=task.height, num_inference_steps=task.steps,
        generator=torch.Generator("cpu").manual_seed(task.seed),
    )  # fmt: skip


if __name__ == "__main__":
    main()
