"""The most memory that loading a model takes, beside plain diffusers and transformers.

    python -m benchmarks.loading [--folder FOLDER] [--gigabytes 2]

Builds a Stable Diffusion pipeline whose UNet has about that many gigabytes of random weights, and a Llama, and loads
each in float32 in a process of its own, here and in the libraries alone. Prints the most memory that the process had
beside what it had before, in all and of its own (without pages of files, which the system takes back where it needs
them), as Linux tells it every 2 ms, and the seconds of the clock.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

FIELDS = ("VmRSS", "RssAnon")


def make(folder: Path, gigabytes: float) -> None:
    """Write the two models."""
    import diffusers
    import torch
    import transformers

    from crynux_validate.testing import tiny_image_model, tiny_text_model

    library: Any = diffusers
    tiny_image_model(folder / "image", random=True)
    unet: Any = library.UNet2DConditionModel.from_pretrained(folder / "image" / "unet").config
    wide = (gigabytes / 2) ** 0.5
    sizes = tuple(64 * round(width * wide / 64) for width in (384, 768, 1536))
    settings = dict(unet) | {
        "block_out_channels": sizes, "down_block_types": ("CrossAttnDownBlock2D",) * 2 + ("DownBlock2D",),
        "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 2, "layers_per_block": 2, "norm_num_groups": 32,
        "attention_head_dim": 8,
    }  # fmt: skip
    shutil.rmtree(folder / "image" / "unet")
    library.UNet2DConditionModel.from_config(settings).save_pretrained(folder / "image" / "unet")
    tiny_text_model(folder / "text", random=True)
    llama: Any = transformers.AutoConfig.from_pretrained(folder / "text")
    llama.hidden_size, llama.intermediate_size, llama.num_attention_heads, llama.num_key_value_heads = 2048, 8192, 32, 8
    llama.head_dim, llama.num_hidden_layers = 64, max(1, round(gigabytes * 4.4))
    for file in (folder / "text").glob("*.safetensors*"):
        file.unlink()
    torch.manual_seed(0)
    causal: Any = transformers.AutoModelForCausalLM
    causal.from_config(llama).save_pretrained(folder / "text")


def loader(kind: str, way: str, folder: Path) -> Callable[[], Any]:
    """What loads a model, with its imports done."""
    if way == "here":
        import crynux_validate as cv
        from crynux_validate.pipelines.images import models
        from crynux_validate.pipelines.text import models as text_models

        reference = cv.ModelRef.local(folder)
        assert models
        assert text_models
        return lambda: cv.Runner(reference, kind, device="cpu")  # type: ignore[arg-type]
    if kind == "text":
        import transformers

        causal: Any = transformers.AutoModelForCausalLM
        return lambda: causal.from_pretrained(folder, dtype="float32")
    import diffusers

    pipeline: Any = diffusers.StableDiffusionPipeline
    return lambda: pipeline.from_pretrained(folder, safety_checker=None, requires_safety_checker=False)


def held() -> list[int]:
    """Memory of this process in MiB, by `FIELDS`."""
    lines = Path("/proc/self/status").read_text("ascii").splitlines()
    found = {line.split(":")[0]: int(line.split()[1]) // 1024 for line in lines if line.startswith(FIELDS)}
    return [found[name] for name in FIELDS]


def weights(file: Path) -> int:
    """Bytes of a file's weights in float32."""
    from safetensors import safe_open

    with safe_open(file, "pt") as opened:
        counts: list[int] = [opened.get_tensor(name).numel() for name in opened.keys()]  # noqa: SIM118 - no dictionary
    return 4 * sum(counts)


def measure(kind: str, way: str, folder: Path) -> None:
    """Load once, and print the most of both and the seconds."""
    load = loader(kind, way, folder)
    before, most, done = held(), [0, 0], threading.Event()

    def watch() -> None:
        while not done.wait(0.002):
            most[:] = map(max, most, held())

    watcher = threading.Thread(target=watch)
    watcher.start()
    start = time.perf_counter()
    loaded = load()
    seconds = time.perf_counter() - start
    done.set()
    watcher.join()
    assert loaded is not None
    print(*(now - then for now, then in zip(most, before, strict=True)), f"{seconds:.1f}")


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="where the models are made, and left; else nowhere that lasts")
    parser.add_argument("--gigabytes", type=float, default=2.0)
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        measure(given.one[0], given.one[1], given.folder)
        return 0
    with tempfile.TemporaryDirectory() as scratch:
        folder = given.folder or Path(scratch)
        if not (folder / "text").is_dir():
            make(folder, given.gigabytes)
        print("| model | weights | loaded | most, in all | most of its own | seconds |\n|---|---|---|---|---|---|")
        for kind in ("image", "text"):
            size = sum(map(weights, (folder / kind).rglob("*.safetensors"))) / 2**20
            for way in ("plain", "here"):
                command = [sys.executable, "-m", "benchmarks.loading", "--folder", str(folder / kind)]
                done = subprocess.run([*command, "--one", kind, way], check=True, capture_output=True, text=True)
                whole, own, seconds = done.stdout.split()[-3:]
                print(f"| {kind} | {size:.0f} MiB | {way} | {whole} MiB | {own} MiB | {seconds} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
