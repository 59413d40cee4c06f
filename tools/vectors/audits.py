"""Vectors of traces, proofs of their steps, the largest logits of texts, and what is audited of each."""

import hashlib
import math
import struct

from tools.vectors.common import HUB, Vector, vector

import crynux_validate as cv
from crynux_validate.audits.layout import Content, leaves_of, size_of
from crynux_validate.audits.steps import audit_steps
from crynux_validate.audits.top import TopLogits, audit_positions, row_of
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
    "refiner": ("the scheduler of a refiner begins without a memory", _PLAIN.replace(
        steps=3, scheduler="DPMSolverMultistepScheduler", refiner=cv.tasks.Refiner(HUB, taken=[3, 3])), [2, 4]),
    "refiner-unipc": ("what UniPC corrects in each part", _PLAIN.replace(
        steps=3, scheduler="UniPCMultistepScheduler", refiner=cv.tasks.Refiner(HUB, taken=[2, 2])), [2]),
    "flow": ("a flow has no memory", _PLAIN.replace(
        steps=3, scheduler="FlowMatchEulerDiscreteScheduler", true_cfg_scale=2.0, max_sequence_length=64), [1, 2]),
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
    begun = _PLAIN.replace(steps=25, start=cv.tasks.StartPicture(cv.tasks.PictureRef("ab" * 32), 0.56))
    cases = [
        ("five", "five of twenty steps", five, b"a beacon's value", 5),
        ("other-seed", "another seed draws others", five, b"another value", 5),
        ("other-task", "and so does another task", five.replace(seed=1), b"a beacon's value", 5),
        ("images", "steps are drawn from those of all images", five.replace(images=16), b"a beacon's value", 5),
        ("all", "no more than there are, and none twice", five.replace(steps=4), b"\0", 9),
        ("refiner", "the steps of both models", five.replace(refiner=cv.tasks.Refiner(HUB, taken=[2, 3])), b"\1", 4),
        ("start", "a picture leaves out the first steps, and a part of a step", begun, b"\2", 25),
        (
            "flow-start",
            "along a flow a part of a step counts as a whole one, in float64",
            begun.replace(scheduler="FlowMatchEulerDiscreteScheduler"),
            b"\2",
            25,
        ),
        ("pndm", "its steps are one more", five.replace(scheduler="PNDMScheduler", steps=4), b"\xff" * 256, 5),
    ]
    vectors = []
    for name, why, task, seed, count in cases:
        answer = cv.ImageScore(bytes(8 * task.images), bytes(range(32)))
        found = {str(image): list(steps) for image, steps in audit_steps(seed, task, answer, count).items()}
        given = {"task": task.to_json(), "seed": seed.hex(), "result_digest": bytes(range(32)).hex(), "count": count}
        vectors.append(vector(f"audit-steps/{name}", why, **given, steps=found))
    return vectors


def top_vectors() -> list[Vector]:
    """Logits of a few tokens, the rows of the largest, and what a seed draws of them."""
    text = cv.TextTask(model=HUB, prompt="a", binding="top")
    many = [[float((7 * at + 3 * token) % 31) - 15 for token in range(12)] for at in range(40)]
    ties = [[0.0, 2.0, -0.0, 2.0, -1.0, 0.0, 0.0, 0.0, 0.0, -0.0]]
    cases: list[tuple[str, str, cv.TextTask, list[list[list[float]]], int]] = [
        ("few", "fewer logits than eight, one position: it is the root's only leaf", text, [[[0.5, -1.25, 3.0]]], 32),
        ("ties", "equal logits by the lowest id, 0 and -0 among them", text, [ties], 32),
        ("ruled-out", "minus infinity stands for itself", text, [[[-math.inf, 1.0, -math.inf], [0.5, 1e-40, -2.0]]], 1),
        ("drawn", "32 positions of 40", text, [many], 32),
        ("sequences", "drawn from all sequences together", text.replace(sequences=2), [many[:5], many[5:9]], 3),
        ("other-task", "another task has other leaves and positions", text.replace(sequences=2, seed=1),
         [many[:5], many[5:9]], 3),
    ]  # fmt: skip
    vectors = []
    for name, why, task, logits, count in cases:
        tokens = [[row.index(max(row)) for row in some] for some in logits]
        ordered = [[sorted(enumerate(row), key=lambda at: (-at[1], at[0]))[:8] for row in some] for some in logits]
        top = TopLogits(task, [[row_of(row) for row in some] for some in ordered])
        score = cv.TextScore.from_tokens(tokens, top=top.root)
        seed = b"a beacon's value"
        opened = top.open(audit_positions(seed, task, score, tokens, count))
        packed = [[struct.pack(f"<{len(row)}f", *row).hex() for row in some] for some in logits]
        given = {"task": task.to_json(), "token_ids": tokens, "logits": packed, "seed": seed.hex(), "count": count}
        rows = [[row.hex() for row in some] for some in top.rows]
        found = {"rows": rows, "root": top.root.hex(), "score": score.hex, "places": [list(at) for at in opened.places]}
        siblings = [node.hex() for node in opened.siblings]
        vectors.append(vector(f"top/{name}", why, **given, **found, siblings=siblings))
    return vectors
