"""Vectors of traces, proofs of their steps, and the steps that are audited."""

import hashlib
import math

from tools.vectors.common import HUB, Vector, vector

import crynux_validate as cv
from crynux_validate.audits.layout import Content, leaves_of, size_of
from crynux_validate.audits.steps import audit_steps
from crynux_validate.audits.trace import Trace

_PLAIN = cv.ImageTask(model=HUB, prompt="a red cat", width=64, height=64, steps=2, binding="trace")
_TASKS = {
    "ddim": ("a scheduler without a memory; the first step has no prediction before it", _PLAIN, [0]),
    "one-step": ("the least tree", _PLAIN.replace(steps=1), [0]),
    "two-images": ("leaves of the second image come after those of the first; float16", _PLAIN.replace(
        images=2, dtype="float16", scheduler="EulerDiscreteScheduler"), [1]),
    "dpm-order": ("the task names the order of its solver", _PLAIN.replace(
        steps=6, scheduler="DPMSolverMultistepScheduler", scheduler_args={"solver_order": 2}), [1, 4]),
    "dpm-model": ("the order is the model's own, and counts as 3", _PLAIN.replace(
        steps=6, scheduler="DPMSolverMultistepScheduler"), [4]),
    "unipc": ("corrected latents are leaves of their own; bfloat16", _PLAIN.replace(
        steps=5, scheduler="UniPCMultistepScheduler", dtype="bfloat16"), [4]),
    "pndm": ("PNDM takes its second timestep twice, and keeps one of the two predictions", _PLAIN.replace(
        steps=6, scheduler="PNDMScheduler"), [1, 3]),
    "pndm-runge-kutta": ("PNDM keeps the first prediction of each four of its first twelve", _PLAIN.replace(
        steps=4, scheduler="PNDMScheduler", scheduler_args={"skip_prk_steps": False}), [7, 12]),
}  # fmt: skip
_LATENT = (1, 1, 2)


def trace_vectors() -> list[Vector]:
    """Traces of few numbers: their leaves, the root, and the proof of some steps without the picture."""
    vectors = []
    for name, (why, task, steps) in _TASKS.items():
        trace, contents, shades = Trace(task, _LATENT), [], []
        for leaf in leaves_of(task):
            made = hashlib.shake_128(f"{name} {leaf}".encode()).digest(size_of(task, leaf, _LATENT))
            if leaf.content is Content.PIXELS:
                shades.append(made[0])
                made = made[:1] * len(made)
            else:
                # The last byte of a number holds its sign and most of its exponent: 0 keeps it finite.
                size = len(made) // math.prod(_LATENT)
                made = b"".join(made[at : at + size - 1] + b"\0" for at in range(0, len(made), size))
                contents.append(made.hex())
            trace.append(made)
        proof = trace.prove(task.images - 1, steps, pixels=False)
        given = {"task": task.to_json(), "latent": list(_LATENT), "contents": contents, "shades": shades}
        asked = {"image": proof.image, "steps": steps}
        vectors.append(
            vector(f"trace/{name}", why, **given, **asked, root=trace.root.hex(), proof=proof.to_bytes().hex())
        )
    return vectors


def audit_step_vectors() -> list[Vector]:
    """Seeds, and the steps that they draw."""
    five = _PLAIN.replace(steps=20)
    cases = [
        ("five", "five of twenty steps", five, b"a beacon's value", 5),
        ("other-seed", "another seed draws others", five, b"another value", 5),
        ("other-task", "and so does another task", five.replace(seed=1), b"a beacon's value", 5),
        ("images", "steps are drawn from those of all images", five.replace(images=16), b"a beacon's value", 5),
        ("all", "no more than there are, and none twice", five.replace(steps=4), b"\0", 9),
        ("pndm", "its steps are one more", five.replace(scheduler="PNDMScheduler", steps=4), b"\xff" * 256, 5),
    ]
    vectors = []
    for name, why, task, seed, count in cases:
        answer = cv.ImageScore(bytes(8 * task.images), bytes(range(32)))
        found = {str(image): list(steps) for image, steps in audit_steps(seed, task, answer, count).items()}
        given = {"task": task.to_json(), "seed": seed.hex(), "result_digest": bytes(range(32)).hex(), "count": count}
        vectors.append(vector(f"audit-steps/{name}", why, **given, steps=found))
    return vectors
