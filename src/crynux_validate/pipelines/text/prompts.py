"""From a text task's input to token ids: the chat template, the tools, the date, the context."""

import datetime
import functools
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import torch

from crynux_validate.encoding import shorten
from crynux_validate.errors import PipelineError, PromptTooLongError
from crynux_validate.frozen import thaw
from crynux_validate.pipelines.models.loading import first_line
from crynux_validate.pipelines.text.models import LoadedText
from crynux_validate.pipelines.text.seeing import check_sees
from crynux_validate.tasks import TextTask

_REFUSED: Final = (ValueError, RuntimeError, LookupError, TypeError, AttributeError, ArithmeticError, AssertionError)
"""What a stranger's tokenizer raises."""

_MONTHS: Final = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
)  # fmt: skip
_DAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_FORMATS: Final[Mapping[str, Callable[[datetime.date], str]]] = {
    "%Y": lambda day: f"{day.year:04}",
    "%y": lambda day: f"{day.year % 100:02}",
    "%m": lambda day: f"{day.month:02}",
    "%-m": lambda day: f"{day.month}",
    "%d": lambda day: f"{day.day:02}",
    "%-d": lambda day: f"{day.day}",
    "%e": lambda day: f"{day.day:2}",
    "%B": lambda day: _MONTHS[day.month - 1],
    "%b": lambda day: _MONTHS[day.month - 1][:3],
    "%A": lambda day: _DAYS[day.weekday()],
    "%a": lambda day: _DAYS[day.weekday()][:3],
    "%F": lambda day: day.isoformat(),
    "%H": lambda _day: "00",
    "%M": lambda _day: "00",
    "%S": lambda _day: "00",
    "%%": lambda _day: "%",
}
"""How a template may ask for the date: what no machine's language or time zone changes. The time is midnight."""


def input_ids(loaded: LoadedText, task: TextTask) -> list[int]:
    """Return the token ids of a task's input; errors as of `model_input`."""
    return model_input(loaded, task)[0]


def model_input(loaded: LoadedText, task: TextTask) -> tuple[list[int], dict[str, torch.Tensor]]:
    """Return the token ids of a task's input, and what the model is given of its pictures beside them.

    Raises
    ------
    PromptTooLongError
        Where the model's context cannot hold the input and what is to be generated, or not even one token more where
        the task asks for as many as the context holds.
    PipelineError
        For messages to a model without a chat template, messages that its template refuses, tools or template_args that
        it ignores, a template that asks for the date where the task names none or that does not give every node the
        same text (see `crynux_validate.pipelines.text.templates.rendering`), an empty input, ids beyond the vocabulary,
        and pictures that cannot be used or that the model cannot be shown.
    """
    seen: dict[str, torch.Tensor] = {}
    if task.messages is not None:
        ids, seen = _of_messages(loaded, task)
    elif task.prompt is not None:
        ids = _tokens(loaded.tokenizer, task.prompt)
    else:
        ids = list(task.token_ids or ())
    if not ids:
        raise PipelineError("the input has no tokens: the tokenizer adds none to an empty prompt; give it some text")
    beyond = next((token for token in ids if token >= loaded.vocabulary), None)
    if beyond is not None:
        raise PipelineError(f"the input has the token id {beyond}; the model knows 0 to {loaded.vocabulary - 1}")
    if (
        loaded.context is not None
        and len(ids) + (1 if _to_the_end(loaded, task) else task.max_new_tokens) > loaded.context
    ):
        raise PromptTooLongError(
            f"the input has {len(ids)} tokens and max_new_tokens is {task.max_new_tokens}; the model's context holds "
            f"{loaded.context} together: shorten the input or ask for fewer"
        )
    return ids, seen


def new_tokens(loaded: LoadedText, task: TextTask, ids: list[int]) -> int:
    """Return the most tokens that a sequence can have after an input.

    That is what the task asks for; or, where it alone asks for the whole context or more, what fits into the context.
    """
    if loaded.context is not None and _to_the_end(loaded, task):
        return loaded.context - len(ids)
    return task.max_new_tokens


def _to_the_end(loaded: LoadedText, task: TextTask) -> bool:
    """Whether a task asks for as many tokens as the context holds: no input fits with them, so it means what fits."""
    return loaded.context is not None and task.max_new_tokens >= loaded.context


def _of_messages(loaded: LoadedText, task: TextTask) -> tuple[list[int], dict[str, torch.Tensor]]:
    tokenizer = loaded.tokenizer
    if task.pictures:
        check_sees(task.model, loaded.model.config)
    if tokenizer.chat_template is None:
        raise PipelineError("the model has no chat template for messages; give the task a prompt or token_ids")
    text = _render(loaded, task, thaw(task.tools) or None)
    if task.tools and text == _without_tools(loaded, task):
        raise PipelineError(
            "the model's chat template ignores tools; leave them out, or choose a model that knows them"
        )
    if loaded.eyes is not None:
        return loaded.eyes.see(task, text)
    return _tokens(tokenizer, text, add_special_tokens=False), {}


def _without_tools(loaded: LoadedText, task: TextTask) -> str | None:
    """The text of the messages alone; None where the template needs tools."""
    try:
        return _render(loaded, task, None)
    except PipelineError:
        return None


def _tokens(tokenizer: Any, text: str, **settings: Any) -> list[int]:
    try:
        return [int(token) for token in tokenizer(text, **settings).input_ids]
    except _REFUSED as error:
        raise PipelineError(f"the model's tokenizer refuses the input: {first_line(error)}") from error


def _message(message: Mapping[str, Any], *, blocks: bool) -> dict[str, Any]:
    """A message as a chat template is given it.

    As in transformers: templates write None where a key is there, and do the right thing where it is not. Those of some
    vision-language models pass over text that is not in blocks, without a word.
    """
    found = {key: value for key, value in thaw(message).items() if value is not None}
    if blocks and isinstance(found.get("content"), str):
        found["content"] = [{"type": "text", "text": found["content"]}]
    return found


def _render(loaded: LoadedText, task: TextTask, tools: Any) -> str:
    """Fill in the chat template, with the variables that transformers gives it."""
    from crynux_validate.pipelines.text.templates.rendering import reads, render

    tokenizer = loaded.tokenizer
    try:
        source = str(tokenizer.get_chat_template(tools=tools))
    except _REFUSED as error:
        raise PipelineError(f"the model has no chat template for these messages: {first_line(error)}") from error
    tokens = {name: thaw(value) for name, value in tokenizer.special_tokens_map.items()}
    variables = tokens | {
        "messages": [_message(message, blocks=loaded.eyes is not None) for message in task.messages or ()],
        "tools": tools,
        "documents": None,
        "add_generation_prompt": True,
    }
    given = thaw(task.template_args)
    text = render(source, variables | given, {"strftime_now": functools.partial(_strftime, task.date)})
    unread = sorted(given.keys() - reads(source)) if given else None
    if unread:
        raise PipelineError(
            f"the model's chat template does not read {shorten(unread[0])} of template_args; leave it out, or choose a "
            "model that knows it"
        )
    return text


def _strftime(date: str | None, form: str) -> str:
    """Write the task's day, in English: this machine's clock and language are not those of other nodes."""
    if date is None:
        raise PipelineError(
            "the model's chat template asks for the date, which differs between nodes; give the task one, like "
            "date='2026-01-31'"
        )
    day = datetime.date.fromisoformat(date)

    def written(found: re.Match[str]) -> str:
        if found.group() not in _FORMATS:
            raise PipelineError(
                f"the model's chat template asks for {found.group()!r} of the date, which may differ between "
                f"nodes; supported are {' '.join(_FORMATS)}"
            )
        return _FORMATS[found.group()](day)

    return re.sub(r"%-?.?", written, str(form), flags=re.DOTALL)
