"""From a text task's input to token ids: the chat template, the tools, the date, the context."""

import datetime
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from crynux_validate.errors import PipelineError, PromptTooLongError
from crynux_validate.frozen import thaw
from crynux_validate.pipelines.loading import READING, first_line
from crynux_validate.pipelines.text_models import LoadedText
from crynux_validate.tasks import TextTask


def input_ids(loaded: LoadedText, task: TextTask) -> list[int]:
    """Return the token ids of a task's input.

    Raises
    ------
    PromptTooLongError
        Where the model's context cannot hold the input and what is to be generated.
    PipelineError
        For messages to a model without a chat template, messages that its template refuses, tools that it ignores, a
        template that asks for the date where the task names none, an empty input, and ids beyond the vocabulary.
    """
    if task.messages is not None:
        ids = _of_messages(loaded, task)
    elif task.prompt is not None:
        ids = [int(token) for token in loaded.tokenizer(task.prompt).input_ids]
    else:
        ids = list(task.token_ids or ())
    if not ids:
        raise PipelineError("the input has no tokens: the tokenizer adds none to an empty prompt; give it some text")
    beyond = next((token for token in ids if token >= loaded.vocabulary), None)
    if beyond is not None:
        raise PipelineError(f"the input has the token id {beyond}; the model knows 0 to {loaded.vocabulary - 1}")
    if loaded.context is not None and len(ids) + task.max_new_tokens > loaded.context:
        raise PromptTooLongError(
            f"the input has {len(ids)} tokens and max_new_tokens is {task.max_new_tokens}; the model's context holds "
            f"{loaded.context} together: shorten the input or ask for fewer"
        )
    return ids


def _of_messages(loaded: LoadedText, task: TextTask) -> list[int]:
    if loaded.tokenizer.chat_template is None:
        raise PipelineError("the model has no chat template for messages; give the task a prompt or token_ids")
    text = _render(loaded.tokenizer, task, thaw(task.tools) or None)
    if task.tools and text == _render(loaded.tokenizer, task, None):
        raise PipelineError(
            "the model's chat template ignores tools; leave them out, or choose a model that knows them"
        )
    return [int(token) for token in loaded.tokenizer(text, add_special_tokens=False).input_ids]


def _render(tokenizer: Any, task: TextTask, tools: Any) -> str:
    try:
        with _today(task.date):
            return str(
                tokenizer.apply_chat_template(
                    thaw(task.messages), tools=tools, add_generation_prompt=True, tokenize=False
                )
            )
    except PipelineError:
        raise
    except (*READING, ArithmeticError) as error:
        raise PipelineError(f"the model's chat template refuses the messages: {first_line(error)}") from error
    except Exception as error:
        # jinja2's own errors are no subclass of the above; whatever a stranger's template raises is the model's fault.
        if type(error).__module__.partition(".")[0] != "jinja2":
            raise
        raise PipelineError(f"the model's chat template refuses the messages: {first_line(error)}") from error


class _Clock:
    """Stands in for ``datetime.datetime`` while a template is filled in."""

    def __init__(self, date: str | None) -> None:
        self._date = date

    def now(self) -> datetime.date:
        """Return the task's day."""
        if self._date is None:
            raise PipelineError(
                "the model's chat template asks for the date, which differs between nodes; give the task one, like "
                "date='2026-01-31'"
            )
        return datetime.date.fromisoformat(self._date)


@contextmanager
def _today(date: str | None) -> Iterator[None]:
    """Let templates see the task's day, not this machine's clock: the clocks of honest nodes differ.

    transformers offers templates ``strftime_now``, and lets nobody pass another one.
    """
    from transformers.utils import chat_template_utils

    module: Any = chat_template_utils
    kept = module.datetime
    module.datetime = _Clock(date)
    try:
        yield
    finally:
        module.datetime = kept
