"""Traces of nodes that did not do the task: each is bound to the task that was asked for, as a cheat would bind it."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import numpy as np
import torch

import crynux_validate as cv
from crynux_validate.audits.layout import Content, leaves_of, step_count
from crynux_validate.audits.proof import TraceProof
from crynux_validate.audits.trace import Trace

Cheat = Callable[[cv.ImageTask, Callable[[str], cv.Runner]], Trace]
"""From the task, and what gives a runner for a dtype, to the trace that the cheat binds."""


def other_task(**changes: Any) -> Cheat:
    """An honest run of another task."""

    def cheat(task: cv.ImageTask, runner: Callable[[str], cv.Runner]) -> Trace:
        done = task.replace(**changes)
        return _bound(task, runner(done.dtype).run(done))

    return cheat


def rounded(bits: int) -> Cheat:
    """Weights of the UNet rounded to so many bits, each output channel with a scale of its own."""

    def cheat(task: cv.ImageTask, runner: Callable[[str], cv.Runner]) -> Trace:
        loaded = runner(task.dtype)
        with _rounded(_unet(loaded), bits):
            return _bound(task, loaded.run(task))

    return cheat


def reused(task: cv.ImageTask, runner: Callable[[str], cv.Runner]) -> Trace:
    """Every second step takes the prediction of the one before."""
    loaded = runner(task.dtype)
    unet = _unet(loaded)
    own, calls, kept = unet.forward, [0], [None]

    def forward(*args: Any, **kwargs: Any) -> Any:
        calls[0] += 1
        if calls[0] % 2:
            kept[0] = own(*args, **kwargs)
        return kept[0]

    unet.forward = forward
    try:
        return _bound(task, loaded.run(task))
    finally:
        del unet.forward


def half(task: cv.ImageTask, runner: Callable[[str], cv.Runner]) -> Trace:
    """Half the steps; between two of them latents and predictions lie in the middle."""
    steps = task.steps // 2
    result = runner(task.dtype).run(task.replace(steps=steps))
    proof = _whole(result)
    parts = {part: [proof.array(part, at) for at in range(steps)] for part in (Content.LATENT, Content.PREDICTION)}
    parts[Content.LATENT].append(proof.array(Content.LATENT, steps))
    parts[Content.PREDICTION].append(parts[Content.PREDICTION][-1])

    def content(part: Content, at: int) -> bytes:
        if part is Content.PIXELS:
            return bytes(result.images[0].tobytes())
        found = parts[part]
        return _bytes((found[at // 2] + found[(at + 1) // 2]) / 2, task.dtype)

    return _made(task, proof.latent, content)


CHEATS: Final[Mapping[str, Cheat]] = {
    "guidance 7.0": other_task(guidance_scale=7.0),
    "guidance 5": other_task(guidance_scale=5.0),
    "other seed": other_task(seed=99),
    "other prompt": other_task(prompt="a red heart on snow"),
    "int8 weights": rounded(8),
    "int4 weights": rounded(4),
    "bfloat16": other_task(dtype="bfloat16"),
    "every second prediction reused": reused,
    "half the steps, interpolated": half,
}


def _bound(task: cv.ImageTask, result: cv.ImageResult) -> Trace:
    """What a run gave, bound to another task of as many steps."""
    proof = _whole(result)

    def content(part: Content, at: int) -> bytes:
        if part is Content.PIXELS:
            return bytes(result.images[0].tobytes())
        return _bytes(proof.array(part, at), task.dtype)

    return _made(task, proof.latent, content)


def _made(task: cv.ImageTask, latent: tuple[int, ...], content: Callable[[Content, int], bytes]) -> Trace:
    trace = Trace(task, latent)
    for leaf in leaves_of(task):
        trace.append(content(leaf.content, leaf.step))
    return trace


def _whole(result: cv.ImageResult) -> TraceProof:
    assert result.trace is not None
    return result.trace.prove(0, range(step_count(result.task)))


def _bytes(values: Any, dtype: str) -> bytes:
    tensor = torch.from_numpy(np.ascontiguousarray(values)).to(getattr(torch, dtype))
    return bytes(tensor.view(torch.int32 if dtype == "float32" else torch.int16).numpy().tobytes())


def _unet(runner: cv.Runner) -> Any:
    loaded: Any = runner._loaded
    return loaded.pipeline.unet


@contextmanager
def _rounded(unet: Any, bits: int) -> Iterator[None]:
    before = {name: value.clone() for name, value in unet.state_dict().items()}
    try:
        with torch.no_grad():
            for value in unet.parameters():
                if value.dim() > 1:
                    flat = value.float().reshape(len(value), -1)
                    scale = flat.abs().amax(1, keepdim=True).clamp(min=1e-12) / (2 ** (bits - 1) - 1)
                    value.copy_((torch.round(flat / scale) * scale).reshape(value.shape).to(value.dtype))
        yield
    finally:
        unet.load_state_dict(before)
