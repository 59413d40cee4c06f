"""Text tasks: tokens to generate with a language model."""

import datetime
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final, Literal, Self, cast

from pydantic import Field

from crynux_validate.algorithms import TextAlgorithm
from crynux_validate.encoding import MAX_SAFE_INTEGER, shorten, shorten_name
from crynux_validate.errors import InvalidInputError, InvalidTaskError
from crynux_validate.frozen import freeze, thaw
from crynux_validate.tasks import crynux_text
from crynux_validate.tasks.base import DTYPES, BaseTask, Dtype, check_range, check_size, in_range, utf8_size
from crynux_validate.tasks.messages import (
    canonical,
    canonical_object,
    check_message,
    count_pictures,
    normal_messages,
)
from crynux_validate.tasks.parts import read_list
from crynux_validate.tasks.pictures import PictureRef

Binding = Literal["tokens", "logits", "top"]
BINDINGS: Final[tuple[Binding, ...]] = ("tokens", "logits", "top")

QuantizeBits = Literal[4, 8] | None
QUANTIZE_BITS: Final = (4, 8)

WARPERS: Final = ("repetition_penalty", "temperature", "top_k", "top_p", "min_p", "typical_p")
"""What changes the logits before a token is chosen, in the order that transformers uses."""

MAX_NEW_TOKENS: Final = 65_536
MAX_SEQUENCES: Final = 16
MAX_BEAMS: Final = 16
MAX_STOPS: Final = 16
MAX_STOP_BYTES: Final = 256
MAX_TOKEN_ID: Final = 2**31 - 1
MAX_PICTURES: Final = 16

_ALGORITHMS: Final[Mapping[Binding, TextAlgorithm]] = {"tokens": "tokens/1", "logits": "logits/1", "top": "top/1"}

_INPUTS: Final = ("messages", "prompt", "token_ids")
_SAMPLING: Final[Mapping[str, tuple[float, float, float]]] = {
    "temperature": (1.0, 0.01, 100.0),
    "top_k": (0, 0, 10_000_000),
    "top_p": (1.0, 1e-6, 1.0),
    "min_p": (0.0, 0.0, 1.0),
    "typical_p": (1.0, 1e-6, 1.0),
}
"""The fields for sampling only: the value at which each changes nothing, and its range."""


_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")

_TAKEN: Final[Mapping[str, str]] = {
    "messages": "give messages in their own field",
    "tools": "give tools in their own field",
    "documents": "no task has documents; put their text into a message",
    "add_generation_prompt": "the prompt for an answer is always added",
    **dict.fromkeys(
        (
            "continue_final_message", "tokenize", "chat_template", "padding", "truncation", "max_length",
            "return_tensors", "return_dict", "return_assistant_tokens_mask", "tokenizer_kwargs", "processor_kwargs",
        ),
        "it is an argument of transformers' own function, which no template sees; leave it out",
    ),
}  # fmt: skip
"""Names that a task's variables cannot have, and why."""


class TextTask(BaseTask):
    """A complete task to generate text with a language model (protocol T1).

    Exactly one of `messages`, `prompt` and `token_ids` is the input.

    Parameters
    ----------
    model
        The model and its revision.
    messages
        A conversation for the model's chat template: objects with `role` (``system``, ``developer``, ``user``,
        ``assistant`` or ``tool``) and `content`, optionally `name`, and for tools `tool_calls` and `tool_call_id`. The
        template's prompt for an answer is added. Content is text, or blocks of text
        (``[{"type": "text", "text": ...}]``), which are joined. Null fields and empty `tool_calls` are left out.
    prompt
        Plain text; the tokenizer adds its special tokens.
    token_ids
        The ids of the input's tokens, 0 to 2^31-1 each.
    pictures
        The pictures of the blocks ``{"type": "image"}`` in messages, in their order, at most 16; for vision-language
        models. PNG files without alpha, at most 16 MiB and 2^24 pixels each, the long side at most 100 times the short
        one.
    tools
        JSON objects that describe functions, for the chat template; with `messages` only. Templates get the keys in the
        order of canonical JSON, as in messages.
    template_args
        More variables for the chat template: names and JSON values (``{"enable_thinking": false}``); with `messages`
        only. The template must read each of them. ``messages``, ``tools``, ``documents`` and ``add_generation_prompt``
        are not allowed.
    date
        The date of today for the chat template, ``YYYY-MM-DD``. Templates that ask for the date need it, since the
        clocks of honest nodes differ.
    seed
        0 to 2^53-1. Noise depends on (seed, sequence, step, token id).
    max_new_tokens
        The largest number of tokens of one sequence, 1 to 65,536. The input and these must fit into the model's
        context. If this alone is at least the size of the context, a sequence can go on until the context is full.
    sequences
        The number of sequences, 1 to 16. A sequence does not depend on the sequences before it.
    do_sample
        Whether each token is drawn by its probability. If not, the most likely token is taken, of equal ones that with
        the lowest id.
    temperature
        0.01 to 100; logits are divided by it.
    top_k
        Keep the k most likely tokens; 0 keeps all.
    top_p
        Keep the most likely tokens that together have this probability (nucleus sampling, arXiv 1904.09751); 1 keeps
        all.
    min_p
        Keep the tokens with at least this part of the highest probability (arXiv 2407.01082); 0 keeps all.
    typical_p
        Keep the tokens nearest to the expected information that together have this probability (arXiv 2202.00666);
        1 keeps all.
    repetition_penalty
        A number by which the logits of tokens of the input and of generated tokens are divided, or multiplied if
        negative (arXiv 1909.05858), 0.1 to 10; 1 changes nothing. It applies also without sampling.
    warper_order
        The order in which these six are applied, each once.
    beams
        The width of a beam search, 1 to 16; 1 is none. With a beam search there are no sampling, no stop strings and no
        pictures, and only tokens are bound. All beams are computed in one batch.
    stop
        Up to 16 strings of 1 to 256 bytes. A sequence ends with the token that completes one of them in the text. The
        text has no special tokens: for these use `eos_token_ids`. The task has the strings in the order of their UTF-8
        bytes, each once (T2).
    eos_token_ids
        The ids of tokens that end a sequence; the task has them in ascending order, each once (T2). Empty for none.
        None for the model's own, from ``generation_config.json``, else ``config.json``, else the tokenizer.
    dtype
        The dtype of the weights and of the computation.
    quantize_bits
        4 or 8: the weights of linear layers are rounded to so many bits when the model is loaded, with the same result
        on all machines (T6). The computation is in `dtype`. None does not round.
    binding
        What the score binds: ``tokens``; ``logits`` for tokens and all logits (A1); ``top`` for tokens and the eight
        largest logits of every token, which can be audited (U7).

    Raises
    ------
    InvalidTaskError
        For an invalid field, which the message names; its `code` is what a node reports (protocol A1).
    """

    schemas: ClassVar = ("crynux-validate/text-task/1", "crynux-validate/text-task-unpinned/1")
    max_bytes: ClassVar = 1_048_576
    choices: ClassVar = {"dtype": DTYPES, "binding": BINDINGS}
    limits: ClassVar = {
        "token_ids": {"minItems": 1, "items": {"type": "integer", **in_range(0, MAX_TOKEN_ID)}},
        "messages": {"minItems": 1},
        "pictures": {"maxItems": MAX_PICTURES},
        "date": {"format": "date"},
        "seed": in_range(0, MAX_SAFE_INTEGER),
        "max_new_tokens": in_range(1, MAX_NEW_TOKENS),
        "sequences": in_range(1, MAX_SEQUENCES),
        **{name: in_range(low, high) for name, (_, low, high) in _SAMPLING.items()},
        "repetition_penalty": in_range(0.1, 10),
        "warper_order": {
            "items": {"type": "string", "enum": list(WARPERS)},
            "minItems": len(WARPERS),
            "maxItems": len(WARPERS),
        },
        "beams": in_range(1, MAX_BEAMS),
        "stop": {"items": {"type": "string", "minLength": 1, "maxLength": MAX_STOP_BYTES}},
        "eos_token_ids": {"items": {"type": "integer", **in_range(0, MAX_TOKEN_ID)}},
    }

    messages: Sequence[Mapping[str, Any]] | None = None
    prompt: str | None = None
    token_ids: Sequence[int] | None = None
    pictures: Sequence[PictureRef] = ()
    tools: Sequence[Mapping[str, Any]] = ()
    template_args: Mapping[str, Any] = Field(default_factory=dict)
    date: str | None = None
    seed: int = 0
    max_new_tokens: int = 256
    sequences: int = 1
    do_sample: bool = False
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    typical_p: float = 1.0
    repetition_penalty: float = 1.0
    warper_order: Sequence[str] = WARPERS
    beams: int = 1
    stop: Sequence[str] = ()
    eos_token_ids: Sequence[int] | None = None
    dtype: Dtype = "bfloat16"
    quantize_bits: QuantizeBits = None
    binding: Binding = "tokens"

    @classmethod
    def from_crynux(
        cls,
        value: str | bytes | Mapping[str, Any],
        *,
        revision: str,
        auto_dtype: Dtype = "bfloat16",
        model_defaults: Mapping[str, Any] | None = None,
        binding: Binding = "tokens",
        allow_unpinned: bool = False,
    ) -> Self:
        """Read the arguments of a text task of the live Crynux network (protocol T4).

        If `do_sample` is false, the live network ignores temperature, typical_p, top_k, top_p and min_p, so they are
        dropped. ``num_beams`` becomes `beams`, ``num_return_sequences`` becomes `sequences`, and ``stop_strings``
        becomes `stop`. The tokens are not those of the live network's nodes, whose random numbers are different, so all
        nodes of a group must use this library (``docs/live-network.md``). Pictures in messages, which are base64 on the
        live network, are named by their digests; the returned task has their bytes for a run on this machine.

        Parameters
        ----------
        value
            JSON of at most 4 MiB, or its dictionary. A null is like an argument that is left out.
        revision
            The commit of the model, 40 hexadecimal digits. Tasks of the live network do not have it.
        auto_dtype
            The dtype for ``auto``, which on the live network is the dtype of the stored weights: bfloat16 for most chat
            models.
        model_defaults
            The content of the model's ``generation_config.json`` at that revision. On the live network it decides about
            arguments that are left out, such as `do_sample`, and about the tokens that end a sequence (``eos_token_id``
            becomes `eos_token_ids`). A value that changes tokens and that a task cannot have is an error. If left out,
            the defaults of transformers apply (no sampling; 50 for top_k if the task samples), and the model's own end
            tokens when the task runs. It is needed for a task with a temperature and without `do_sample`.
        binding
            What the score binds.
        allow_unpinned
            Accept a revision that can change, for runs on one machine.

        Raises
        ------
        InvalidTaskError
            For an argument that is out of range, of another type, unknown, or not supported. The message names it as
            the live network does (``generation_config.num_beams``).
        """
        return crynux_text.text_task(
            cls,
            value,
            revision=revision,
            auto_dtype=auto_dtype,
            model_defaults=model_defaults,
            binding=binding,
            allow_unpinned=allow_unpinned,
        )

    @property
    def algorithm(self) -> TextAlgorithm:
        """The algorithm of the score that answers the task."""
        return _ALGORITHMS[self.binding]

    def _told(self) -> tuple[str, ...]:
        if self.messages is not None:
            asked = f"{len(self.messages)} messages, the last {shorten(thaw(self.messages[-1].get('content')))}"
        elif self.token_ids is not None:
            asked = f"{len(self.token_ids)} token ids"
        else:
            asked = shorten(self.prompt)
        many = f"{self.sequences} sequences of " if self.sequences > 1 else ""
        how = "sampled" if self.do_sample else f"{self.beams} beams" if self.beams > 1 else "greedy"
        return asked, f"{many}at most {self.max_new_tokens} tokens", how, f"seed {self.seed}"

    def to_dict(self) -> dict[str, Any]:
        """Return the task as Python values of the JSON that `task_from_json` reads."""
        fields = {name: thaw(value) for name, value in super().to_dict().items()}
        return fields | {"pictures": [picture.to_dict() for picture in self.pictures]}

    def pictures_named(self) -> dict[str, PictureRef]:
        """Return the pictures of messages, by the name of their field."""
        return {f"pictures.{at}": picture for at, picture in enumerate(self.pictures)}

    def _located(self, paths: Mapping[str, Path]) -> dict[str, Any]:
        return super()._located(paths) | {"pictures": tuple(picture.located(paths) for picture in self.pictures)}

    @classmethod
    def _read_parts(cls, fields: dict[str, Any], *, allow_unpinned: bool) -> None:  # noqa: ARG003
        if "pictures" in fields:
            fields["pictures"] = read_list("pictures", fields["pictures"], PictureRef.from_dict)

    def _complete(self) -> None:
        for name in ("token_ids", "warper_order", "stop", "eos_token_ids"):
            self.__dict__[name] = freeze(getattr(self, name))
        self.__dict__["messages"] = normal_messages(canonical("messages", self.messages))
        self.__dict__["tools"] = canonical("tools", self.tools)
        self.__dict__["template_args"] = canonical_object("template_args", self.template_args)
        self._check_input()
        self._check_sampling()
        self._check_ranges()
        self._check_beams()
        self.__dict__["stop"] = _normal_stop(self.stop)
        if self.eos_token_ids is not None:
            _check_ids("eos_token_ids", self.eos_token_ids)
            self.__dict__["eos_token_ids"] = tuple(sorted(set(self.eos_token_ids)))
        if self.date is not None:
            _check_date(self.date)

    def _check_input(self) -> None:
        given = [name for name in _INPUTS if getattr(self, name) is not None]
        if len(given) != 1:
            found = " and ".join(given) if given else "none"
            raise InvalidTaskError("", f"the input is {found}; expected exactly one of {', '.join(_INPUTS)}")
        if self.prompt is not None:
            utf8_size("prompt", self.prompt)
        if self.token_ids is not None:
            _check_ids("token_ids", self.token_ids)
            if not self.token_ids:
                raise InvalidTaskError("token_ids", "is empty; expected at least one id")
        if self.messages is not None:
            if not self.messages:
                raise InvalidTaskError("messages", "is empty; expected at least one message")
            for at, message in enumerate(self.messages):
                check_message(f"messages.{at}", message)
            self._check_pictures(count_pictures(self.messages))
        elif self.pictures:
            raise InvalidTaskError("pictures", "need messages as the input, which show them")
        elif self.tools:
            raise InvalidTaskError("tools", "need messages as the input, since they are for a chat template")
        elif self.template_args:
            raise InvalidTaskError("template_args", "need messages as the input, since they are for a chat template")
        for name in self.template_args:
            _check_variable(name)

    def _check_pictures(self, shown: int) -> None:
        self.__dict__["pictures"] = tuple(self.pictures)
        if len(self.pictures) > MAX_PICTURES:
            raise InvalidTaskError("pictures", f"has {len(self.pictures)}; expected at most {MAX_PICTURES}", "limits")
        if len(self.pictures) != shown:
            raise InvalidTaskError(
                "pictures",
                f"has {len(self.pictures)}, but the messages show {shown}; expected one for each block "
                "{'type': 'image'}, in their order",
            )

    def _check_sampling(self) -> None:
        if sorted(self.warper_order) != sorted(WARPERS):
            expected = f"each of {', '.join(WARPERS)} once, in any order"
            known = all(name in WARPERS for name in self.warper_order)
            raise InvalidTaskError(
                "warper_order",
                f"is {shorten(list(self.warper_order))}; expected {expected}",
                "limits" if known else "unsupported",
            )
        for name, (neutral, low, high) in _SAMPLING.items():
            value = getattr(self, name)
            if name == "temperature" and value == 0:
                raise InvalidTaskError(name, "is 0; for the most likely tokens set do_sample=False instead", "limits")
            check_range(name, value, low, high)
            if value != neutral and not self.do_sample:
                raise InvalidTaskError(
                    name,
                    f"is {shorten(value)}, but nothing is sampled; expected do_sample=True, or {neutral}",
                    "limits",
                )

    def _check_beams(self) -> None:
        if self.beams == 1:
            return
        without: tuple[tuple[str, bool, str], ...] = (
            ("do_sample", self.do_sample, "expected False"),
            ("stop", bool(self.stop), "expected none"),
            ("binding", self.binding != "tokens", "expected 'tokens'"),
            ("pictures", bool(self.pictures), "expected none"),
            ("warper_order", tuple(self.warper_order) != WARPERS, "expected the default"),
            ("sequences", self.sequences > self.beams, f"expected at most {self.beams}, one of each beam"),
        )
        for name, wrong, expected in without:
            if wrong:
                value = shorten(thaw(getattr(self, name)))
                raise InvalidTaskError(name, f"is {value} with a beam search; {expected}", "limits")


def _check_ids(name: str, ids: Sequence[int]) -> None:
    for at, value in enumerate(ids):
        if not 0 <= value <= MAX_TOKEN_ID:
            raise InvalidTaskError(
                f"{name}.{at}", f"is {shorten(value)}; expected a token id from 0 to {MAX_TOKEN_ID}", "limits"
            )


def check_bits(value: object) -> QuantizeBits:
    """Return `value` if weights can have so many bits: 4, 8 or None; raises `InvalidInputError` otherwise."""
    if value is None or (type(value) is int and value in QUANTIZE_BITS):
        return cast("QuantizeBits", value)
    raise InvalidInputError(f"quantize_bits is {shorten(value)}; expected 4, 8 or None")


def _check_variable(name: str) -> None:
    """Refuse what a chat template cannot read, and what it is given by other fields."""
    field = f"template_args.{shorten_name(name)}"
    if not _VARIABLE.fullmatch(name):
        raise InvalidTaskError(field, "cannot name a variable; expected letters, digits and _ of ASCII", "limits")
    if name in _TAKEN:
        raise InvalidTaskError(field, f"is taken: {_TAKEN[name]}", "unsupported")


def _normal_stop(stop: Sequence[str]) -> tuple[str, ...]:
    """Check stop strings; return them in their one order, each once: whichever a text completes first ends it."""
    for at, text in enumerate(stop):
        if not text:
            raise InvalidTaskError(f"stop.{at}", "is empty; expected text that ends a sequence", "limits")
        check_size(f"stop.{at}", text, MAX_STOP_BYTES)
    distinct = tuple(sorted(set(stop)))
    if len(distinct) > MAX_STOPS:
        raise InvalidTaskError("stop", f"has {len(distinct)} strings; expected at most {MAX_STOPS}", "limits")
    return distinct


def _check_date(date: str) -> None:
    try:
        found = datetime.date.fromisoformat(date)
    except ValueError:
        found = None
    if found is None or found.isoformat() != date:
        raise InvalidTaskError("date", f"is {shorten(date)}; expected a day like '2026-01-31'")
