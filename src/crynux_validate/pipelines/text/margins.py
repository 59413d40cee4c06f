"""How far a reference's logits are from choosing a claimed token: the smallest change of logits that explains it.

The margin of a token is the least e for which there are logits, none further than e from the reference's, from which
the task's own sampler (`pipelines.text.sampling`, with its noise) chooses that token. It is 0 for the token
that the reference itself chooses, and small where the choice was nearly even or a token stood at the edge of a cut:
there honest machines differ.

Top-k, top-p and min-p each keep the upper part of the scores. So it is enough to look at two tables of logits within e:
*near*, which is the best for keeping the claimed token, and *far*, the best for cutting the tokens that would beat it
whatever their change. Where near keeps the claimed token, far cuts all of those, and the claimed token is above them,
there is a table between the two that does both: on a continuous way from one to the other the kept part loses one token
at a time, and those come first. e is then found by bisection; the cuts themselves are the library's own.

Where logits of the reference are exactly equal, top-k keeps all of them or none, and the margin can be too large.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from crynux_validate.pipelines.elementary import Float64s
from crynux_validate.pipelines.noise import gumbel, token_uniform
from crynux_validate.pipelines.text.sampling import Candidates, Float32s, TokenIds, choose, warpers
from crynux_validate.tasks import TextTask

PRECISION: Final = 1e-3
"""How exact a margin is, as a part of itself."""

_CUTS: Final = ("top_k", "top_p", "min_p")
_SMALLEST: Final = 1e-9
"""No margin but 0 is less."""
_TINY: Final = 1e-6
"""How far a score stays below another one, as a part of it: float32 must not make them equal."""


def incomparable(task: TextTask) -> str | None:
    """Say why the tokens of a task have no margins; None where they have.

    A beam search chooses whole sequences, not tokens. Typical-p keeps no upper part of the scores, nor do cuts of which
    some see the scores before a repetition penalty and some after it.
    """
    if task.beams > 1:
        return "a beam search chooses whole sequences, and no token by itself"
    if task.typical_p < 1.0:
        return "typical_p keeps a band of the scores, for which no smallest change is known"
    cuts = [task.warper_order.index(name) for name in _active_cuts(task)]
    penalty = task.warper_order.index("repetition_penalty")
    if task.repetition_penalty != 1.0 and cuts and min(cuts) < penalty < max(cuts):
        return "the repetition penalty stands between two cuts, for which no smallest change is known"
    return None


def _active_cuts(task: TextTask) -> list[str]:
    neutral = {"top_k": 0, "top_p": 1.0, "min_p": 0.0}
    return [name for name in _CUTS if getattr(task, name) != neutral[name]]


class Margins:
    """The margins of one sequence's tokens.

    Parameters
    ----------
    task
        For which `incomparable` has no reason.
    sequence
        Which sequence, counted from 0.
    """

    def __init__(self, task: TextTask, sequence: int) -> None:
        self._task = task
        self._sequence = sequence
        self._chain = warpers(task)
        self._heat = task.temperature if task.do_sample else 1.0
        cuts = [task.warper_order.index(name) for name in _active_cuts(task)]
        self._has_cuts = bool(cuts)
        # Whether the cuts see the scores before the penalty.
        self._cut_first = bool(cuts) and max(cuts) < task.warper_order.index("repetition_penalty")

    def of(self, logits: Float32s, seen: TokenIds, step: int, token: int, most: float) -> float:
        """Return the margin of a token.

        Parameters
        ----------
        logits
            The reference's, one float32 for each token of the vocabulary; the largest is finite.
        seen
            The ids of the input and of what was generated before.
        step
            Which of the new tokens, counted from 0.
        token
            The claimed one, less than the number of logits.
        most
            The largest margin that matters, more than 0; a larger one is returned as this.

        Returns
        -------
        float
            0 to `most`, in units of logits; at most 0.1% too large, or by what float32 rounds.
        """
        if choose(self._task, self._chain, logits, seen, self._sequence, step) == token:
            return 0.0
        place = _Place(self, logits, seen, step, token)
        if not place.explained(most):
            return most
        low, high = _SMALLEST, most
        while high > (1 + PRECISION) * low:
            middle = math.sqrt(low * high)
            low, high = (low, middle) if place.explained(middle) else (middle, high)
        return high


@dataclass(frozen=True)
class _Scale:
    """What the repetition penalty makes of a logit, and back: it rises everywhere."""

    factors: Float64s
    """For each token what its positive logits are divided by, and its negative ones multiplied by."""

    def score(self, logits: Float64s) -> Float64s:
        return np.where(logits < 0, logits * self.factors, logits / self.factors)

    def logit(self, scores: Float64s) -> Float64s:
        return np.where(scores < 0, scores / self.factors, scores * self.factors)


class _Place:
    """One position: the reference's logits, the noise, and the claimed token."""

    def __init__(self, margins: Margins, logits: Float32s, seen: TokenIds, step: int, token: int) -> None:
        task = margins._task
        self._has_cuts, self._chain, self._seen, self._token = margins._has_cuts, margins._chain, seen, token
        self._logits = logits.astype(np.float64)
        self._ids = np.arange(len(logits), dtype=np.int64)
        factors = np.ones(len(logits))
        if task.repetition_penalty != 1.0:
            factors[np.unique(seen)] = task.repetition_penalty
        self._penalty = _Scale(factors)
        self._cut_scale = _Scale(np.ones(len(logits))) if margins._cut_first else self._penalty
        noise = np.zeros(len(logits))
        if task.do_sample:
            noise = gumbel(token_uniform(task.seed, sequence=margins._sequence, step=step, tokens=self._ids))
        # A score wins by its sum with this noise; in units of the score before the temperature.
        self._noise = noise * margins._heat

    def explained(self, change: float) -> bool:
        """Whether some change of the logits, none by more than this, makes the sampler choose the claimed token."""
        low, high, token = self._logits - change, self._logits + change, self._token
        best = self._logits[token] + change
        if not np.isfinite(best):
            return False
        wins = float(_at(self._penalty, best, token)) + self._noise[token]
        # As high as each other one may go without beating it.
        harmless = self._penalty.logit(wins - self._noise)
        beaten_by = low > harmless
        beaten_by[token] = False
        if not self._has_cuts:
            return not beaten_by.any()
        own = float(_at(self._cut_scale, best, token))
        level = self._cut_scale.logit(np.full(len(low), own - _TINY * (abs(own) + 1.0)))
        near = np.maximum(low, np.minimum(high, level))
        near[token] = best
        if token not in self._kept(near):
            return False
        if not beaten_by.any():
            return True
        worst = float(self._cut_scale.score(low)[beaten_by].max())
        if worst >= own:
            return False
        upper = np.minimum(high, harmless)
        far = np.where(~beaten_by & (self._cut_scale.score(upper) > worst), np.maximum(upper, low), low)
        far[token] = best
        return not beaten_by[self._kept(far)].any()

    def _kept(self, logits: Float64s) -> TokenIds:
        found = Candidates(self._ids, logits.astype(np.float32))
        for warper in self._chain:
            found = warper(found, self._seen)
        return found.ids


def _at(scale: _Scale, logit: float, token: int) -> npt.NDArray[np.float64]:
    return _Scale(scale.factors[token : token + 1]).score(np.array([logit]))[0]  # type: ignore[no-any-return]
