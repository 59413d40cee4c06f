"""Tasks that their creator chose so that honest machines disagree."""

from typing import Final

from attacks.answer import Made, attack
from attacks.machine import Machine
from crynux_validate import ImageScore, ImageTask
from crynux_validate.answers import similarity_score
from crynux_validate.encoding import MAX_SAFE_INTEGER

GROUP: Final = "bad faith"

TRIES: Final = 8
"""How many seeds the creator looks at."""

SCHEDULER: Final = "LCMScheduler"
"""Made for distilled models; with others it turns a small difference into a large one."""

STEPS: Final = 10
GUIDANCE: Final = 20.0
"""Nearly three times as much as usual: it multiplies the difference of two predictions, and their errors."""

PROMPT: Final = "snow"
"""A plain picture: many coefficients of the hash lie near the median."""


@attack(
    "fragile-task",
    GROUP,
    saves="nothing: honest nodes are not paid, and some lose their stake",
    against="float32; the bound on a slash; the fee, of which a part is burnt",
)
def fragile_task(task: ImageTask, machine: Machine) -> Made:
    """Of some seeds the one whose pictures in two precisions are farthest apart: one machine stands for two."""
    other_dtype = "float32" if task.dtype != "float32" else "bfloat16"
    made: dict[ImageTask, tuple[int, Made]] = {}
    cost = 0.0
    for number in range(TRIES):
        seed = (task.seed * TRIES + number) % (MAX_SAFE_INTEGER + 1)
        tried = task.replace(
            prompt=PROMPT, negative_prompt="", seed=seed, steps=STEPS, guidance_scale=GUIDANCE, scheduler=SCHEDULER
        )
        own, other = (machine.run(one, beside=task) for one in (tried, tried.replace(dtype=other_dtype)))
        cost += own.cost + other.cost
        made[tried] = _apart(own, other), own
    chosen = max(made, key=lambda tried: made[tried][0])
    own = made[chosen][1]
    return Made(own.pixels, cost, own.result, chosen)


def _apart(own: Made, other: Made) -> int:
    """The distance of two results."""
    scores: list[ImageScore] = [made.result.score for made in (own, other) if made.result is not None]
    return similarity_score(*scores) or 0


ATTACKS: Final = (fragile_task,)
