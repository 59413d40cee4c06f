"""From logits to a token: warpers in the order that a task states, then the largest logit, or Gumbel-max.

All of it runs in numpy on the host, in operations whose bits do not depend on the processor: single precision for what
the logits are divided or multiplied by, `elementary` in double precision for probabilities, sums one after the other.
So two machines whose logits are equal choose equal tokens, whatever their processors are. A warper keeps the tokens
that transformers' own keeps, but where float32 rounds a probability to the other side of a limit.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np
import numpy.typing as npt

from crynux_validate.errors import PipelineError
from crynux_validate.pipelines.elementary import Float64s, exp, log
from crynux_validate.pipelines.noise import gumbel, token_uniform
from crynux_validate.tasks import TextTask

Float32s = npt.NDArray[np.float32]
TokenIds = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Candidates:
    """The tokens that may still be chosen.

    Parameters
    ----------
    ids
        Token ids, ascending, int64.
    scores
        Their logits as far as they are changed, float32.
    """

    ids: TokenIds
    scores: Float32s

    def keep(self, kept: npt.NDArray[np.bool_]) -> "Candidates":
        """Return those of a mask."""
        return self if kept.all() else Candidates(self.ids[kept], self.scores[kept])


_MANY: Final = 256
_SAFE: Final = 1e-6
"""More than the error of a limit between 0 and 1 that is computed in float32."""

Warper = Callable[[Candidates, TokenIds], Candidates]
"""Changes or cuts candidates, given the ids of the input and of what was generated."""


def repetition_penalty(found: Candidates, seen: TokenIds, *, penalty: float) -> Candidates:
    """Divide the logits of tokens that were seen by the penalty, multiply them where they are negative."""
    scores, factor = found.scores.copy(), np.float32(penalty)
    again = np.isin(found.ids, seen)
    old = scores[again]
    scores[again] = np.where(old < 0, old * factor, old / factor)
    return Candidates(found.ids, scores)


def temperature(found: Candidates, _seen: TokenIds, *, by: float) -> Candidates:
    """Divide the logits."""
    return Candidates(found.ids, found.scores / np.float32(by))


def top_k(found: Candidates, _seen: TokenIds, *, k: int) -> Candidates:
    """Keep the k largest logits, and those that equal the least of them."""
    if k >= len(found.ids):
        return found
    least = np.partition(found.scores, -k)[-k]
    return found.keep(found.scores >= least)


def top_p(found: Candidates, _seen: TokenIds, *, p: float) -> Candidates:
    """Keep the most likely tokens until they have `p` together; of equal ones the lowest id comes first."""
    likely = probabilities(found.scores)
    size = _MANY
    while True:
        # Only the head is sorted: it has nearly all of the probability.
        least = np.partition(found.scores, -size)[-size] if size < len(likely) else found.scores.min()
        head = np.flatnonzero(found.scores >= least)
        head = head[np.lexsort((found.ids[head], -found.scores[head]))]
        together = np.cumsum(likely[head])
        if len(head) == len(likely) or together[-1] >= p:
            break
        size *= 8
    kept = np.zeros(len(likely), dtype=np.bool_)
    kept[head[: 1 + int((together[:-1] < p).sum())]] = True
    return found.keep(kept)


def min_p(found: Candidates, _seen: TokenIds, *, p: float) -> Candidates:
    """Keep the tokens with at least `p` of the highest probability."""
    apart = found.scores.astype(np.float64) - float(found.scores.max())
    return found.keep(exp(apart) >= p)


def typical_p(found: Candidates, _seen: TokenIds, *, p: float) -> Candidates:
    """Keep the tokens whose information is nearest to the entropy, until they have `p` together (arXiv 2202.00666)."""
    likely = probabilities(found.scores)
    possible = likely > 0.0
    information = np.full(len(likely), np.inf)
    information[possible] = -log(likely[possible])
    entropy = _sum(likely[possible] * information[possible])
    apart = np.abs(information - entropy)
    order = np.argsort(apart, kind="stable")
    last = int((np.cumsum(likely[order]) < p).sum())
    return found.keep(apart <= apart[order[min(last, len(order) - 1)]])


def probabilities(scores: Float32s) -> Float64s:
    """Softmax of logits, with the same bits everywhere."""
    weights = exp(scores.astype(np.float64) - float(scores.max()))
    return weights / _sum(weights)


def warpers(task: TextTask) -> tuple[Warper, ...]:
    """Return the warpers that a task asks for, in its order, without those that would change nothing."""
    made: Mapping[str, tuple[bool, Warper]] = {
        "repetition_penalty": (
            task.repetition_penalty != 1.0,
            partial(repetition_penalty, penalty=task.repetition_penalty),
        ),
        "temperature": (task.temperature != 1.0, partial(temperature, by=task.temperature)),
        "top_k": (task.top_k > 0, partial(top_k, k=task.top_k)),
        "top_p": (task.top_p < 1.0, partial(top_p, p=task.top_p)),
        "min_p": (task.min_p > 0.0, partial(min_p, p=task.min_p)),
        "typical_p": (task.typical_p < 1.0, partial(typical_p, p=task.typical_p)),
    }
    return tuple(warper for active, warper in (made[name] for name in task.warper_order) if active)


def choose(
    task: TextTask, chain: tuple[Warper, ...], logits: Float32s, seen: TokenIds, sequence: int, step: int
) -> int:
    """Choose the next token.

    Parameters
    ----------
    task
        Says whether to sample, and the seed.
    chain
        Its `warpers`.
    logits
        One float32 for each token of the vocabulary; the largest is finite.
    seen
        The ids of the input and of what was generated.
    sequence, step
        Which sequence, and which of its new tokens, counted from 0.

    Returns
    -------
    int
        The token id; of equal ones the lowest.
    """
    if not chain and not task.do_sample:
        return int(logits.argmax())
    found = Candidates(np.arange(len(logits), dtype=np.int64), logits)
    with np.errstate(over="ignore"):
        for warper in chain:
            found = warper(found, seen)
            check_finite(float(found.scores.max()), step)
    if not task.do_sample:
        return int(found.ids[found.scores.argmax()])
    return int(found.ids[noisy_argmax(found, task.seed, sequence, step)])


def check_finite(largest: float, step: int) -> None:
    """Refuse logits whose largest is no number: it is not, where any is NaN or infinite, or all are minus infinity."""
    if not math.isfinite(largest):
        raise PipelineError(
            f"the logits of token {step} are NaN or infinite: an overflow, likely in float16 or by a low temperature;"
            " use bfloat16 or float32"
        )


def noisy_argmax(found: Candidates, seed: int, sequence: int, step: int) -> int:
    """Return the position of the largest sum of score and Gumbel noise; of equal ones the first.

    Where there are many candidates, those that cannot win are left out first, by a limit that is on the safe side of
    numpy's own rounding, which differs between processors: no bit of the result depends on it.
    """
    scores = found.scores.astype(np.float64)
    uniforms = token_uniform(seed, sequence=sequence, step=step, tokens=found.ids)
    if len(scores) <= _MANY:
        return int((scores + gumbel(uniforms)).argmax())
    likely = np.flatnonzero(found.scores >= np.partition(found.scores, -_MANY)[-_MANY])
    best = float((scores[likely] + gumbel(uniforms[likely])).max())
    # score + gumbel(u) >= best, solved for u.
    with np.errstate(under="ignore", over="ignore"):
        limit = np.exp(-np.exp((scores - best).astype(np.float32)))
    left = np.flatnonzero(uniforms >= limit - _SAFE)
    return int(left[(scores[left] + gumbel(uniforms[left])).argmax()])


def _sum(values: Float64s) -> float:
    """Add one after the other: numpy's own sum adds in an order that may depend on the processor."""
    return float(np.cumsum(values)[-1])
