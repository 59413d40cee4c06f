"""A language model in float32, made from the weights that a task loads: what audits of text compare with.

The weights are loaded in the task's dtype, as the node had them, and then computed with in float32; where the task has
them rounded to 4 or 8 bits, so are these. So nearly all of the difference to an honest node is the node's own rounding.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import torch

from crynux_validate.errors import PipelineError
from crynux_validate.pipelines.models.loading import RUNNING, first_line
from crynux_validate.pipelines.text import models
from crynux_validate.pipelines.text.models import LoadedText
from crynux_validate.pipelines.text.passes import Passes
from crynux_validate.pipelines.text.sampling import Float32s, check_finite
from crynux_validate.tasks import Dtype, ModelRef, QuantizeBits

_FIRST: Final = 32
"""Rows of logits that come first: enough to find most cheats."""
_LATER: Final = 256
"""Rows that come at once after those; more would need memory, without being faster."""


def load(
    model: ModelRef,
    dtype: Dtype,
    device: torch.device,
    quantize_bits: QuantizeBits = None,
    *,
    pictures: bool = False,
) -> LoadedText:
    """Load a reference; enter the guard first. Parameters and errors as of `models.load`."""
    loaded = models.load(model, dtype, device, quantize_bits, pictures=pictures)
    return replace(loaded, model=loaded.model.float())


def rows(
    loaded: LoadedText,
    prompt: Sequence[int],
    ids: Sequence[int],
    beside: Mapping[str, torch.Tensor] | None = None,
) -> Iterator[Float32s]:
    """Yield the logits that each of some tokens was chosen from, in one pass over input and tokens.

    An input with pictures has a pass of its own: a claimed token can be the one that stands for a picture.

    They are computed when they are asked for: who stops early saves the rest. A model that keeps something else than
    transformers' own cache computes all of them at once.

    Yields
    ------
    array of float32
        The logits of the next token, shape (vocabulary,); finite at the largest.

    Raises
    ------
    PipelineError
        Where the computation fails, or overflows.
    """
    passes = Passes(loaded.model, loaded.calls, beside)
    start, new = 0, list(prompt)
    while start < len(ids):
        most = (_LATER if start else 1 if beside else _FIRST) if beside or _goes_on(passes.state) else len(ids)
        stop = min(len(ids), start + most)
        new += ids[start : stop - 1]
        for step, row in enumerate(_computed(passes, new, stop - start, start), start=start):
            check_finite(float(row.max()), step)
            yield row
        new, start = list(ids[stop - 1 : stop]), stop


def _goes_on(state: Any) -> bool:
    """Whether a model can go on with several tokens at once from what it keeps."""
    from transformers import DynamicCache

    return type(state) is DynamicCache


def _computed(passes: Passes, new: Sequence[int], last: int, step: int) -> Float32s:
    try:
        with torch.inference_mode():
            found: Float32s = passes.rows(new, last).to(device="cpu", dtype=torch.float32).numpy()
    except RUNNING as error:
        raise PipelineError(
            f"the reference's logits of token {step} could not be computed: {type(error).__name__}: {first_line(error)}"
        ) from error
    return found
