"""Which steps are audited, and how many: drawn from a seed that nobody knew when the answer was bound (protocol U4)."""

import hashlib
import math
from typing import Final, Literal

from crynux_validate.answers import ImageScore
from crynux_validate.audits.layout import check_traced, step_count
from crynux_validate.encoding import check_integer, check_type, digest, length_prefixed, shorten
from crynux_validate.errors import InvalidInputError
from crynux_validate.tasks import ImageTask, Task

MAX_SEED_BYTES: Final = 256


def audit_steps(seed: bytes, task: ImageTask, answer: ImageScore, count: int) -> dict[int, tuple[int, ...]]:
    """Draw the steps of an answer that are audited (protocol U4).

    Parameters
    ----------
    seed
        1 to 256 bytes that nobody knew when the answer was bound: a beacon's value, or what the creator drew later.
    task
        A task that binds its trace.
    answer
        The node's answer; its result digest is a part of what the steps follow from.
    count
        How many steps, 1 or more; all of them where the images have fewer.

    Returns
    -------
    dict
        For each image that has a drawn step those steps, ascending. Steps are drawn from those of all images together,
        no step twice.

    Raises
    ------
    InvalidInputError
        For a task without a trace, an answer without a result digest, and what lies outside the ranges above.
    """
    check_traced(task)
    check_type(answer, ImageScore, "the answer", "an ImageScore")
    if answer.result_digest is None:
        raise InvalidInputError("the answer has no result digest; give the answer that was committed to")
    steps = step_count(task)
    total = steps * task.images
    wanted = min(check_integer(count, "the number of steps", 1), total)
    found = draw_places(start_of("audit-steps", seed, task, answer.result_digest), wanted, total)
    images = sorted({at // steps for at in found})
    return {image: tuple(sorted(at % steps for at in found if at // steps == image)) for image in images}


def start_of(thing: Literal["audit-steps", "audit-positions"], seed: bytes, task: Task, bound: bytes) -> bytes:
    """Return the digest that words are drawn from: of the seed, the task, and what the answer bound."""
    if not isinstance(seed, bytes) or not 1 <= len(seed) <= MAX_SEED_BYTES:
        raise InvalidInputError(f"the seed is {shorten(seed)}; expected 1 to {MAX_SEED_BYTES} bytes")
    return digest(thing, length_prefixed(seed), bytes.fromhex(task.digest), bound)


def draw_places(start: bytes, wanted: int, total: int) -> set[int]:
    """Draw that many different places of 0 to `total` - 1: word i is SHA-256 over the start and i as u32 big-endian."""
    found: set[int] = set()
    word = 0
    while len(found) < wanted:
        drawn = hashlib.sha256(start + word.to_bytes(4, "big")).digest()
        found.add(int.from_bytes(drawn, "big") % total)
        word += 1
    return found


def steps_needed(share: float, rate: float) -> int:
    """Return how many steps find a cheat that made false claims in a share of them, at least at a rate.

    One drawn step finds it with probability `share`, and k steps with 1 - (1 - share)^k: a little more, since no step
    is drawn twice.

    Parameters
    ----------
    share
        The share of the steps of which something false is claimed, above 0, at most 1. Steps that are copied from
        another run of the same prompt are right: then it can be as small as one step (docs/audits.md).
    rate
        The wanted probability of finding it, 0 to 1, exclusive.

    Raises
    ------
    InvalidInputError
        For what lies outside these ranges.
    """
    for name, value, end in (("share", share, 1.0), ("rate", rate, math.nextafter(1.0, 0.0))):
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= end:
            raise InvalidInputError(f"{name} is {shorten(value)}; expected a number above 0 and {_END[name]}")
    if share == 1:
        return 1
    count = max(1, math.ceil(math.log1p(-rate) / math.log1p(-share)))
    # The quotient of two logarithms can be a rounding error above a whole number.
    return count - 1 if count > 1 and -math.expm1((count - 1) * math.log1p(-share)) >= rate else count


_END: Final = {"share": "at most 1", "rate": "below 1"}
