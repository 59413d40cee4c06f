"""Traces, proofs and drawn steps, by the words of the protocol."""

import hashlib
import json
import math
from typing import Any

from tests.vectors.reading import Vector, each, prefixed, sha256

LATENT, PREDICTION, CORRECTED, PIXELS = 1, 2, 3, 4
Place = tuple[int, int, int]
"""Image, content, step."""


def number_of_steps(task: dict[str, Any]) -> int:
    if task["refiner"] is not None:
        return int(sum(task["refiner"]["taken"]))
    if task["start"] is not None:
        steps, part = task["steps"], task["steps"] * task["start"]["strength"]
        taken = steps - math.floor(steps - part) if task["scheduler"].startswith("Flow") else math.floor(part)
        return int(taken)
    if task["scheduler"] != "PNDMScheduler":
        return int(task["steps"])
    if task["scheduler_args"]["skip_prk_steps"]:
        return int(task["steps"]) + int(task["steps"] > 1)
    return int(task["steps"]) + 9


def places(task: dict[str, Any]) -> list[Place]:
    """All leaves in their order."""
    found, last = [], number_of_steps(task)
    for image in range(task["images"]):
        for step in range(last):
            found += [(image, LATENT, step), (image, PREDICTION, step)]
            if task["scheduler"] == "UniPCMultistepScheduler":
                found.append((image, CORRECTED, step))
        found += [(image, LATENT, last), (image, PIXELS, last)]
    return found


def remembered(task: dict[str, Any], step: int) -> list[int]:
    """The table of U3; a refiner's steps are counted from its first (T11)."""
    first = 0 if task["refiner"] is None else task["refiner"]["taken"][0]
    if 0 < first <= step:
        return [first + at for at in remembered({**task, "refiner": None}, step - first)]
    order = task["scheduler_args"].get("solver_order", 3)
    if task["scheduler"] == "DPMSolverMultistepScheduler":
        return [at for at in range(step) if at > step - order]
    if task["scheduler"] == "UniPCMultistepScheduler":
        return [at for at in range(step) if at >= step - order]
    if task["scheduler"] != "PNDMScheduler":
        return []
    if not task["scheduler_args"]["skip_prk_steps"]:
        if step < 12:
            return [at for at in range(step) if at // 4 == step // 4]
        return [at for at in range(step) if at in (0, 4, 8) or at >= 12][-3:]
    if step == 1:
        return [0]
    return [at for at in range(step) if at != 1][-3:]


def shown(task: dict[str, Any], image: int, steps: list[int]) -> list[Place]:
    last = number_of_steps(task)
    wanted = {(LATENT, 0), (LATENT, last)}
    for step in steps:
        wanted |= {(LATENT, at) for at in [*remembered(task, step), step, step + 1]}
        wanted |= {(PREDICTION, at) for at in [*remembered(task, step), step - 1, step]}
        wanted |= {(CORRECTED, step - 1), (CORRECTED, step)}
    return [place for place in places(task) if place[0] == image and place[1:] in wanted]


def u32(*numbers: int) -> bytes:
    return b"".join(number.to_bytes(4, "big") for number in numbers)


def node(level: list[bytes], at: int) -> bytes:
    pair = level[2 * at : 2 * at + 2]
    return pair[0] if len(pair) == 1 else bytes.fromhex(sha256("tree-node/1", *pair))


@each("traces")
def test_trace(vector: Vector) -> None:
    task = json.loads(vector["task"])
    task_digest = bytes.fromhex(sha256("task/1", prefixed(vector["task"].encode())))
    sides, contents, shades = vector["latent"], iter(vector["contents"]), iter(vector["shades"])
    data, level = {}, []
    for place in places(task):
        picture = place[1] == PIXELS
        shape = [task["height"], task["width"], 3] if picture else sides
        made = (
            bytes([next(shades)]) * (task["height"] * task["width"] * 3) if picture else bytes.fromhex(next(contents))
        )
        head = u32(*place, len(shape), *shape)
        form = prefixed(b"uint8" if picture else task["dtype"].encode(), made)
        level.append(bytes.fromhex(sha256("trace-leaf/1", task_digest, head, form)))
        data[place] = made
    opened = shown(task, vector["image"], vector["steps"])
    known, siblings = {at for at, place in enumerate(places(task)) if place in opened}, b""
    while len(level) > 1:
        for at, digest in enumerate(level):
            if at not in known and at ^ 1 in known:
                siblings += digest
        level = [node(level, at) for at in range((len(level) + 1) // 2)]
        known = {at // 2 for at in known}
    assert level[0].hex() == vector["root"]
    head = prefixed(b"crynux-validate/trace-proof/1") + task_digest
    head += u32(vector["image"], *sides, 0, len(vector["steps"]), *vector["steps"])
    assert (head + b"".join(data[place] for place in opened) + siblings).hex() == vector["proof"]


@each("audit-steps")
def test_steps(vector: Vector) -> None:
    task_digest = bytes.fromhex(sha256("task/1", prefixed(vector["task"].encode())))
    seed = sha256(
        "audit-steps/1", prefixed(bytes.fromhex(vector["seed"])), task_digest, bytes.fromhex(vector["result_digest"])
    )
    task = json.loads(vector["task"])
    steps, word = number_of_steps(task), 0
    found: list[int] = []
    while len(found) < min(vector["count"], steps * task["images"]):
        drawn = int(hashlib.sha256(bytes.fromhex(seed) + u32(word)).hexdigest(), 16) % (steps * task["images"])
        found += [drawn] if drawn not in found else []
        word += 1
    drawn_steps: dict[str, list[int]] = {}
    for at in sorted(found):
        drawn_steps.setdefault(str(at // steps), []).append(at % steps)
    assert drawn_steps == vector["steps"]
