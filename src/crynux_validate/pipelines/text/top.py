"""The row of the largest logits of a token, as `crynux_validate.audits.top` binds it (protocol U7)."""

from typing import Final

import numpy as np
import numpy.typing as npt

from crynux_validate.audits.top import LARGEST
from crynux_validate.pipelines.elementary import Float64s, exp
from crynux_validate.pipelines.noise import gumbel, token_uniform
from crynux_validate.pipelines.text.sampling import Candidates, Float32s, TokenIds, warpers
from crynux_validate.tasks import TextTask

_ENTRY: Final = np.dtype([("id", "<u4"), ("logit", "<f4")])
_ROUNDING: Final = 1e-9
"""More than what sums of probabilities are off in double precision, as a share."""


def top_row(logits: Float32s) -> bytes:
    """Return the bytes of a row: the eight largest logits with their ids, largest first, of equal ones the lowest id.

    Parameters
    ----------
    logits
        One float32 for each token of the vocabulary, none NaN.
    """
    count = min(LARGEST, len(logits))
    least = np.partition(logits, -count)[-count]
    found = np.flatnonzero(logits >= least)
    order = found[np.argsort(-logits[found], kind="stable")][:count]
    row = np.empty(count, dtype=_ENTRY)
    row["id"], row["logit"] = order, logits[order]
    return row.tobytes()


def contradicts(
    task: TextTask, bound: list[tuple[int, float]], seen: TokenIds, sequence: int, step: int, token: int
) -> bool:
    """Whether a token cannot be what a node chose from the logits that it bound itself, whatever the others were.

    Nothing here depends on a machine: an honest node's token is the best of its own logits. Whoever computed tokens in
    one way, and bound the logits of another, is found by this.

    Parameters
    ----------
    bound
        The row: ids and logits, largest first.
    seen
        The ids of the input and of what was generated before.
    sequence, step, token
        Which token of which sequence.
    """
    ids = np.array([found for found, _ in bound], dtype=np.int64)
    raw = np.array([logit for _, logit in bound], dtype=np.float32)
    if task.typical_p < 1.0 or (task.repetition_penalty != 1.0 and (task.top_k or task.top_p < 1.0 or task.min_p)):
        return False  # which tokens were cut depends on the logits that are not in the row
    kept = ids[_surely_kept(task, raw)]
    if token not in ids:  # its logit is the least of the row at most
        ids, raw = np.append(ids, token), np.append(raw, raw[-1])
    # The sampler's own steps, in float32: a limit for rounding would be wrong where the temperature is low.
    found = Candidates(ids, raw)
    for warper in warpers(task.replace(top_k=0, top_p=1.0, min_p=0.0)):
        found = warper(found, seen)
    scores = found.scores.astype(np.float64)
    if task.do_sample:
        scores += gumbel(token_uniform(task.seed, sequence=sequence, step=step, tokens=ids))
    own = scores[np.flatnonzero(ids == token)[0]]
    return bool((scores[np.isin(ids, kept)] > own).any())


def _surely_kept(task: TextTask, raw: Float32s) -> npt.NDArray[np.bool_]:
    """Which tokens of a row no cut can have left out: top-p cuts the less, the more the other tokens have."""

    def weights(cut: str) -> Float64s:
        hot = task.warper_order.index("temperature") < task.warper_order.index(cut)
        scores = (raw / np.float32(task.temperature if hot else 1.0)).astype(np.float64)
        return exp(scores - scores[0])

    kept = np.ones(len(raw), dtype=np.bool_)
    if task.top_k:
        kept &= np.arange(len(raw)) < task.top_k
    if task.min_p:
        kept &= weights("min_p") >= task.min_p
    if task.top_p < 1.0:
        likely = weights("top_p")
        kept &= np.cumsum(likely) - likely < task.top_p * likely[kept].sum() * (1 - _ROUNDING)
        kept[0] = True
    return kept
