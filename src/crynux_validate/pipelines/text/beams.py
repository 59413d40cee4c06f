"""Beam search, which transformers computes in one batch: its own loop, without the repository's defaults."""

from collections.abc import Collection
from typing import Any

import torch

from crynux_validate.errors import PipelineError
from crynux_validate.pipelines.guard.attention import watched
from crynux_validate.pipelines.guard.generators import Untouched
from crynux_validate.pipelines.models.loading import RUNNING, first_line
from crynux_validate.pipelines.models.recipe import TextRan
from crynux_validate.pipelines.text.models import LoadedText
from crynux_validate.pipelines.text.sampling import check_finite
from crynux_validate.tasks import TextTask


def search(
    loaded: LoadedText, task: TextTask, prompt: list[int], end: Collection[int], ran: TextRan
) -> list[list[int]]:
    """Return the tokens of the best sequences, best first, each with the token that ended it.

    Raises
    ------
    PipelineError
        Where transformers would search with wrong positions or a wrong memory of the text, the computation fails, or it
        gives something that is no number.
    DeterminismError
        Where random numbers were drawn from torch's own generators.
    """
    if not loaded.calls.beams:
        raise PipelineError(
            f"transformers cannot search with beams on {type(loaded.model).__name__}: it would give it other positions "
            "than its own, or mix up what it keeps of each beam; set beams to 1"
        )
    generators = Untouched(loaded.model.device)
    tokens = torch.tensor([prompt], dtype=torch.int64, device=loaded.model.device)
    try:
        with torch.inference_mode(), watched(ran.kernels):
            output = loaded.model.generate(
                tokens,
                attention_mask=torch.ones_like(tokens),
                generation_config=_settings(task, end),
                logits_processor=[_check_scores],
            )
    except PipelineError:
        raise
    except RUNNING as error:
        raise PipelineError(f"the search could not be computed: {type(error).__name__}: {first_line(error)}") from error
    generators.check()
    ran.keep(output.past_key_values)
    return [_up_to_end(row, end) for row in output.sequences[:, len(prompt) :].tolist()]


def _settings(task: TextTask, end: Collection[int]) -> Any:
    from transformers import GenerationConfig

    configuration: Any = GenerationConfig
    return configuration(
        max_new_tokens=task.max_new_tokens,
        num_beams=task.beams,
        num_return_sequences=task.sequences,
        do_sample=False,
        early_stopping=False,
        length_penalty=1.0,
        repetition_penalty=task.repetition_penalty,
        eos_token_id=sorted(end) or None,
        pad_token_id=min(end, default=0),
        use_cache=True,
        cache_implementation="dynamic",
        disable_compile=True,
        return_dict_in_generate=True,
    )


def _check_scores(seen: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
    """Stand among transformers' own processors, and refuse what is no number."""
    check_finite(float(scores.amax(dim=-1).sum()), seen.shape[1])
    return scores


def _up_to_end(row: list[int], end: Collection[int]) -> list[int]:
    stop = next((at for at, token in enumerate(row) if token in end), None)
    return row if stop is None else row[: stop + 1]
