"""What an image task loads beside its model: other components, LoRAs, embeddings, each pinned as the model is (T1)."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Final, Self, TypeVar

from pydantic_core import CoreSchema, core_schema

from crynux_validate.encoding import shorten, shorten_name
from crynux_validate.errors import InvalidTaskError
from crynux_validate.frozen import thaw
from crynux_validate.tasks.model import ModelRef
from crynux_validate.tasks.wire import MODEL_SCHEMA, wire_schema

T = TypeVar("T")

MAX_PARTS: Final = 16
"""The most LoRAs, and the most textual inversions, of one task."""

COMPONENTS: Final = ("vae", "unet")
"""The fields of a task whose model takes the place of a component."""

LISTS: Final = ("loras", "textual_inversions")
"""The fields of a task that are lists of parts."""

MAX_FILE_NAME: Final = 256
MAX_TOKEN: Final = 64
MAX_WEIGHT: Final = 10.0

_SUFFIX: Final = ".safetensors"


@dataclass(frozen=True)
class Part:
    """A file of a repository or of a local folder; a kind of part adds what is done with it.

    Parameters
    ----------
    model
        The repository at a commit, or the local folder by its digest (`ModelRef.local`). It names no variant: the file
        is named.
    file
        The file in it, its folders separated by ``/``; safetensors only, since pickles can run code.

    Raises
    ------
    InvalidTaskError
        Names the field, the value and what was expected.
    """

    schema: ClassVar[Mapping[str, Any]]
    """Its JSON Schema."""

    model: ModelRef
    file: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.model, ModelRef):
            raise InvalidTaskError("model", f"is {shorten(self.model)}; expected a ModelRef")
        if self.model.variant is not None:
            raise InvalidTaskError(
                "model.variant", f"is {shorten(self.model.variant)}; leave it out, and name the file"
            )
        _check_file(self.file)

    def to_dict(self) -> dict[str, Any]:
        """Return what is canonical of it."""
        found = {each.name: getattr(self, each.name) for each in fields(self)}
        return found | {"model": self.model.to_dict()}

    @classmethod
    def from_dict(cls, value: object, *, allow_unpinned: bool = False) -> Self:
        """Read what `to_dict` writes, from a stranger."""
        if not isinstance(value, Mapping):
            raise InvalidTaskError("", f"is {shorten(value)}; expected an object with a model and a file")
        known = [each.name for each in fields(cls)]
        for key in value:
            if key not in known:
                name = shorten_name(str(key))
                raise InvalidTaskError(name, f"no such field; it has {', '.join(known)}", "unsupported")
        if "model" not in value:
            raise InvalidTaskError("model", "is missing; expected an object with a repository or a digest")
        return cls(**{**value, "model": ModelRef.from_dict(value["model"], allow_unpinned=allow_unpinned)})

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: Any) -> CoreSchema:
        """In pydantic's models it is read and written in the wire format too."""
        return wire_schema(cls, core_schema.is_instance_schema(cls), lambda value: cls.from_dict(thaw(value)))

    @classmethod
    def __get_pydantic_json_schema__(cls, _schema: Any, _handler: Any) -> dict[str, Any]:
        return dict(cls.schema)

    def __str__(self) -> str:
        return f"{self.file} of {self.model}"


def _part_schema(title: str, about: str, file: Mapping[str, Any], **others: Mapping[str, Any]) -> dict[str, Any]:
    name = {"type": "string", "minLength": 1, "maxLength": MAX_FILE_NAME, **file}
    properties = {"model": dict(MODEL_SCHEMA), "file": name, **others}
    return {
        "title": title,
        "description": about,
        "type": "object",
        "properties": properties,
        "required": [key for key, value in properties.items() if "default" not in value],
        "additionalProperties": False,
    }


@dataclass(frozen=True)
class Lora(Part):
    """A LoRA (arXiv 2106.09685): small matrices that are added to weights of the model before it runs.

    Parameters
    ----------
    model, file
        Where it lies; `Part` says how. The default is the name that diffusers gives such a file.
    weight
        How much of it is added, -10 to 10; 1 is all of it, 0 nothing.
    """

    schema: ClassVar = _part_schema(
        "Lora",
        "Matrices that are added to weights of the model.",
        {"default": "pytorch_lora_weights.safetensors"},
        weight={"type": "number", "default": 1.0, "minimum": -MAX_WEIGHT, "maximum": MAX_WEIGHT},
    )

    file: str = "pytorch_lora_weights.safetensors"
    weight: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        number = isinstance(self.weight, int | float) and not isinstance(self.weight, bool)
        if not number or math.isnan(self.weight if isinstance(self.weight, float) else 0):
            raise InvalidTaskError("weight", f"is {shorten(self.weight)}; expected a number")
        if not abs(self.weight) <= MAX_WEIGHT:
            raise InvalidTaskError(
                "weight", f"is {shorten(self.weight)}; expected {-MAX_WEIGHT:g} to {MAX_WEIGHT:g}", "limits"
            )
        object.__setattr__(self, "weight", float(self.weight))


@dataclass(frozen=True)
class TextualInversion(Part):
    """Vectors for a word that the model does not know (arXiv 2208.01618).

    Parameters
    ----------
    model, file
        Where it lies; `Part` says how.
    token
        The word that stands for the vectors in prompts, like ``<cat-toy>``: 1 to 64 printable characters without
        spaces.
    """

    schema: ClassVar = _part_schema(
        "TextualInversion",
        "Vectors for a word that the model does not know.",
        {"default": "learned_embeds.safetensors"},
        token={"type": "string", "minLength": 1, "maxLength": MAX_TOKEN},
    )

    file: str = "learned_embeds.safetensors"
    token: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        token = self.token
        if not isinstance(token, str):
            raise InvalidTaskError("token", f"is {shorten(token)}; expected a word like '<cat-toy>'")
        if not 1 <= len(token) <= MAX_TOKEN or not token.isprintable() or " " in token:
            raise InvalidTaskError(
                "token", f"is {shorten(token)}; expected 1 to {MAX_TOKEN} printable characters without spaces", "limits"
            )


@dataclass(frozen=True)
class Parts:
    """All that an image task loads beside its model.

    Parameters
    ----------
    vae, unet
        Components that take the place of the model's own; None for those of the model.
    loras
        In the order in which they are added.
    textual_inversions
        In the order in which the tokenizer learns their words.
    """

    vae: ModelRef | None = None
    unet: ModelRef | None = None
    loras: tuple[Lora, ...] = ()
    textual_inversions: tuple[TextualInversion, ...] = ()

    def references(self) -> dict[str, ModelRef]:
        """Return what it names, by the field of the task."""
        found = {name: getattr(self, name) for name in COMPONENTS if getattr(self, name) is not None}
        for name in LISTS:
            found |= {f"{name}.{at}": part.model for at, part in enumerate(getattr(self, name))}
        return found

    def __str__(self) -> str:
        named = [f"{name} {model}" for name, model in self.references().items()]
        return ", ".join(named) or "no parts"


NO_PARTS: Final = Parts()


def read_list(name: str, value: object, read: Callable[[Any], T]) -> tuple[T, ...]:
    """Read the parts of a task's field from a stranger; errors name the one that is wrong."""
    if not isinstance(value, list | tuple):
        raise InvalidTaskError(name, f"is {shorten(value)}; expected a list of objects")
    return tuple(read_part(f"{name}.{at}", item, read) for at, item in enumerate(value))


def read_component(name: str, value: object, read: Callable[[Any], ModelRef]) -> ModelRef:
    """Read the model in a field of its own; what it refuses is named after the field."""
    try:
        return read(value)
    except InvalidTaskError as error:
        raise InvalidTaskError(name + error.field.removeprefix("model"), error.problem, error.code) from error


def read_part(name: str, value: Any, read: Callable[[Any], T]) -> T:
    """Read one; what it refuses is named after the field."""
    try:
        return read(value)
    except InvalidTaskError as error:
        raise InvalidTaskError(f"{name}.{error.field}".rstrip("."), error.problem, error.code) from error


def _check_file(name: object) -> None:
    """Refuse what is no file below a folder, or one that a folder's digest does not cover."""
    if not isinstance(name, str):
        raise InvalidTaskError("file", f"is {shorten(name)}; expected the name of a {_SUFFIX} file")
    if not 1 <= len(name) <= MAX_FILE_NAME or not name.isprintable() or "\\" in name:
        raise InvalidTaskError(
            "file", f"is {shorten(name)}; expected 1 to {MAX_FILE_NAME} printable characters without backslashes"
        )
    if any(not part or part.startswith(".") for part in name.split("/")):
        raise InvalidTaskError("file", f"is {shorten(name)}; expected a file in the folder, and no dot-file")
    if not name.endswith(_SUFFIX):
        raise InvalidTaskError(
            "file", f"is {shorten(name)}; only {_SUFFIX} files are read, since others can run code", "unsupported"
        )
