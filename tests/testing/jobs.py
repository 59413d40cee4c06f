"""What workers run for these tests: functions must be importable."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from crynux_validate.pipelines.noise import normal
from crynux_validate.testing import fake_hardware


class Unpicklable(Exception):  # noqa: N818 - what it is
    """An exception that can be pickled, but not read back."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(first + second)


class Here:
    """A class whose method a worker runs."""

    @classmethod
    def double(cls, value: int) -> int:
        """Return twice the value."""
        return 2 * value


def add(first: Any, second: Any = 1) -> Any:
    return first + second


def echo(value: Any) -> Any:
    return value


def fail(message: str) -> None:
    raise KeyError(message)


def fail_badly() -> None:
    raise Unpicklable("one", "two")


def return_lock() -> Any:
    import threading

    return threading.Lock()


def chatter() -> str:
    """Write to standard output in every way there is."""
    print("a line that must not end up between the answers")  # noqa: T201 - the test is about it
    os.write(1, b"\x00\x00\x00\x00\x00\x00\x00\x01r" * 100)
    subprocess.run([sys.executable, "-c", "print('from a child of the child')"], check=True)
    return "said"


def count(steps: int) -> str:
    for step in range(steps):
        fake_hardware.send({"step": step})
    return "counted"


def leave(status: int) -> None:
    os._exit(status)


def kill_self() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def leave_somebody_behind(go: Path, late: Path) -> None:
    """Die while a child process, which holds everything that this one holds, lives until the file `go` is there."""
    if os.fork() == 0:
        for _ in range(1500):
            if go.exists():
                os._exit(0)
            time.sleep(0.01)
        late.touch()
    os._exit(7)


def sleep(seconds: float) -> float:
    time.sleep(seconds)
    return time.monotonic()


def meet(own: Path, other: Path) -> bool:
    """Say that this process is there, and wait until the other one is."""
    own.touch()
    for _ in range(2000):
        if other.exists():
            return True
        time.sleep(0.01)
    return False


def variables() -> dict[str, str]:
    return dict(os.environ)


def operations() -> dict[str, bytes]:
    """Return the bits of plain torch operations on numbers that are the same everywhere."""
    import torch

    a = torch.from_numpy(normal(1, shape=(128, 128)))
    b = torch.from_numpy(normal(2, shape=(128, 128)))
    pictures = torch.from_numpy(normal(3, shape=(1, 16, 32, 32)))
    kernels = torch.from_numpy(normal(4, shape=(8, 16, 3, 3)))
    results = {
        "input": a,
        "matmul": a @ b,
        "softmax": a.softmax(-1),
        "gelu": torch.nn.functional.gelu(a),
        "group_norm": torch.nn.functional.group_norm(pictures, 4),
        "conv2d": torch.nn.functional.conv2d(pictures, kernels, padding=1),
    }
    return {name: value.contiguous().numpy().tobytes() for name, value in results.items()}


def library_operations() -> dict[str, bytes]:
    """The same for numpy, its BLAS, and the C library."""
    a = normal(1, shape=(128, 128))
    b = normal(2, shape=(128, 128))
    wide = a.astype(np.float64)
    return {
        "input": a.tobytes(),
        "matmul": (a @ b).tobytes(),
        "exp": np.exp(a).tobytes(),
        "exp64": np.exp(wide).tobytes(),
        "sin64": np.sin(wide).tobytes(),
    }


_pipelines: dict[Path, Any] = {}


def picture(folder: Path, prompt: str, seed: int, steps: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Paint with a Stable Diffusion pipeline at 256x256, in the way of diffusers' own documentation."""
    import diffusers
    import torch

    if folder not in _pipelines:
        library: Any = diffusers
        _pipelines[folder] = library.StableDiffusionPipeline.from_pretrained(folder, use_safetensors=True)
        _pipelines[folder].set_progress_bar_config(disable=True)
    latents = torch.from_numpy(normal(seed, shape=(1, 4, 32, 32)))
    result = _pipelines[folder](
        prompt, num_inference_steps=steps, height=256, width=256, latents=latents, output_type="np"
    )
    pixels: np.ndarray[Any, np.dtype[np.uint8]] = np.round(result.images[0] * 255).astype(np.uint8)
    return pixels


def product(dtype: str = "float16") -> tuple[bytes, Any]:
    """The bits of a product, and what the record says of its arithmetic."""
    import torch

    from crynux_validate.pipelines.guard.determinism import numerics

    left, right = (torch.from_numpy(normal(seed, shape=(64, 2000))).to(getattr(torch, dtype)) for seed in (1, 2))
    return (left @ right.T).view(torch.int16).numpy().tobytes(), numerics()["tensor_cores"]
