"""What of a prompt a model's tokenizers hold."""

from typing import Any, Final

from jinja2 import TemplateError

from crynux_validate.errors import PipelineError, PromptTooLongError
from crynux_validate.pipelines.models.loading import RUNNING, first_line
from crynux_validate.tasks import ImageTask

_CHANCE: Final = ("strftime_now", "random", "lipsum")
"""What a chat template can ask that is not the same everywhere: the day, and chance."""


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


def as_chat(tokenizer: Any, prompt: str, *, thinking: bool) -> str:
    """Return what a language model that encodes prompts is told: a message, in its tokenizer's chat template.

    Raises
    ------
    PipelineError
        For a template that is missing, or does not write the same everywhere.
    """
    template = tokenizer.chat_template
    if not isinstance(template, str):
        raise PipelineError("the model's tokenizer has no chat template; get the whole model again")
    for word in _CHANCE:
        if word in template:
            raise PipelineError(f"the model's chat template uses {word}, which differs between nodes; name another")
    messages = [{"role": "user", "content": prompt}]
    try:
        found: str = tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=True, enable_thinking=thinking
        )
    except (*RUNNING, TemplateError) as error:
        raise PipelineError(f"the model's chat template cannot be filled in: {first_line(error)}") from error
    return found
