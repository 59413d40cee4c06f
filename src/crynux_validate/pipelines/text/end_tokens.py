"""Which tokens end a sequence where the task does not say: what the model's own files name, in a fixed order."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from crynux_validate.encoding import shorten
from crynux_validate.errors import ModelError
from crynux_validate.pipelines.models.files import listed_files
from crynux_validate.tasks import ModelRef, TextTask

FILES: Final = ("generation_config.json", "config.json")
"""Where a model names its end tokens, first come, first served; after them comes its tokenizer."""

_LARGEST: Final = 1_048_576
"""The most bytes of such a file."""


@dataclass(frozen=True)
class EndTokens:
    """The tokens that end a sequence.

    Parameters
    ----------
    ids
        Each of them ends it; with none a sequence ends at a stop string or at its greatest length.
    source
        Who named them: ``task``, a file of the model's, ``tokenizer``, or ``nobody``.
    """

    ids: tuple[int, ...]
    source: str

    def to_dict(self) -> dict[str, Any]:
        """Return what a recipe says of them."""
        return {"from": self.source, "ids": sorted(set(self.ids))}

    def of(self, task: TextTask) -> "EndTokens":
        """Return what holds for a task: what it names comes first."""
        return self if task.eos_token_ids is None else EndTokens(tuple(task.eos_token_ids), "task")


def end_tokens(model: ModelRef, source: Mapping[str, Any], tokenizer: Any) -> EndTokens:
    """Read a model's end tokens: ``generation_config.json``, else ``config.json``, else the tokenizer's own.

    Parameters
    ----------
    model
        For the errors.
    source
        Where its files are: arguments of ``from_pretrained``.
    tokenizer
        Of transformers.

    Raises
    ------
    ModelError
        Where a file is damaged or names something else than token ids, and where nobody can know whether a
        repository has it: it is not in the cache, and the hub cannot be asked.
    """
    for name in FILES:
        file = _find(model, source, name)
        content = {} if file is None else _read(model, file)
        text = content.get("text_config")
        # null is as good as not named; the configuration of a model with parts has one for its text.
        for part in (content, text if isinstance(text, dict) else {}):
            if part.get("eos_token_id") is not None:
                return EndTokens(_ids(model, name, part["eos_token_id"]), name)
    if tokenizer.eos_token_id is None:
        return EndTokens((), "nobody")
    return EndTokens((int(tokenizer.eos_token_id),), "tokenizer")


def _find(model: ModelRef, source: Mapping[str, Any], name: str) -> Path | None:
    """Return one of the model's files, or None where it has no such file."""
    from transformers.utils.hub import cached_file

    where = {key: value for key, value in source.items() if key != "pretrained_model_name_or_path"}
    try:
        found = cached_file(source["pretrained_model_name_or_path"], name, **where)
    except OSError as error:
        # Without a cause: the hub, the cache or the folder says that there is no such file.
        if error.__cause__ is None or _known_to_lack(source, name):
            return None
        raise ModelError(
            f"the file {name} of {model}, which names its end tokens, is not in the local cache, and the hub cannot be "
            "asked whether there is one. Load the model once with a connection"
        ) from error
    return None if found is None else Path(found)


def _known_to_lack(source: Mapping[str, Any], name: str) -> bool:
    """Whether the cache has the list of a repository's files, and this one is not on it."""
    from transformers.utils.hub import cached_file

    where = {key: value for key, value in source.items() if key != "pretrained_model_name_or_path"}
    found = cached_file(
        source["pretrained_model_name_or_path"],
        "config.json",
        **where | {"local_files_only": True},
        _raise_exceptions_for_missing_entries=False,
    )
    listed = None if found is None else listed_files(Path(found).parent)
    return listed is not None and name not in listed


def _read(model: ModelRef, file: Path) -> dict[str, Any]:
    try:
        with file.open("rb") as stream:
            raw = stream.read(_LARGEST + 1)
        content = json.loads(raw.decode("utf-8")) if len(raw) <= _LARGEST else None
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{file.name} of {model} cannot be read: {error}. Get it again") from error
    if not isinstance(content, dict):
        raise ModelError(f"{file.name} of {model} holds no JSON object of at most {_LARGEST} bytes. Get it again")
    return content


def _ids(model: ModelRef, name: str, value: Any) -> tuple[int, ...]:
    ids = value if isinstance(value, list) else [value]
    if not all(type(item) is int and item >= 0 for item in ids):
        raise ModelError(
            f"{name} of {model} has eos_token_id {shorten(value)}; expected a token id or a list of them. Mend the "
            "file, or choose another model"
        )
    return tuple(ids)
