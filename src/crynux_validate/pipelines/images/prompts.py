"""What of a prompt a model's tokenizers hold."""

from typing import Any

from crynux_validate.errors import PromptTooLongError
from crynux_validate.tasks import ImageTask


def check_windows(pipeline: Any, task: ImageTask) -> None:
    """Refuse prompts that a tokenizer would cut off: diffusers says so in a log only.

    Raises
    ------
    PromptTooLongError
        Names the field, and how many tokens it has and may have.
    """
    for name in ("tokenizer", "tokenizer_2"):
        tokenizer = getattr(pipeline, name, None)
        for field in ("prompt", "negative_prompt"):
            prompt = getattr(task, field)
            if tokenizer is None or prompt is None:
                continue
            # A word of a textual inversion can stand for several tokens.
            written = pipeline.maybe_convert_prompt(prompt, tokenizer)
            count = len(tokenizer(written, truncation=False, padding=False).input_ids)
            check_length(field, name, count, tokenizer.model_max_length, tokenizer.num_special_tokens_to_add())


def check_length(field: str, tokenizer: str, count: int, window: int, frame: int) -> None:
    """Refuse a prompt of more tokens than there is room for.

    Parameters
    ----------
    field, tokenizer
        Their names, for the message.
    count, window
        How many tokens there are, and at most.
    frame
        How many of both the tokenizer adds.
    """
    if count > window:
        raise PromptTooLongError(
            f"{field}: has {count - frame} tokens; the model's {tokenizer} takes at most {window - frame}: shorten it"
        )
