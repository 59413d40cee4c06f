"""What an image task loads beside its model: other components, LoRAs, embeddings, each pinned as the model is (T1)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final, TypeVar

from crynux_validate.encoding import shorten
from crynux_validate.errors import InvalidTaskError
from crynux_validate.tasks.model import ModelRef
from crynux_validate.tasks.records import Record, check_model, check_number, read_part, record_schema
from crynux_validate.tasks.wire import MODEL_SCHEMA

T = TypeVar("T")

MAX_PARTS: Final = 16
"""The most LoRAs, and the most textual inversions, of one task."""

COMPONENTS: Final = ("vae", "unet", "transformer")
"""The fields of a task whose model takes the place of a component."""

LISTS: Final = ("loras", "textual_inversions")
"""The fields of a task that are lists of parts."""

MAX_FILE_NAME: Final = 256
MAX_TOKEN: Final = 64
MAX_WEIGHT: Final = 10.0

_SUFFIX: Final = ".safetensors"


@dataclass(frozen=True)
class Part(Record):
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

    model: ModelRef
    file: str = ""

    def __post_init__(self) -> None:
        check_model(self.model)
        if self.model.variant is not None:
            raise InvalidTaskError(
                "model.variant", f"is {shorten(self.model.variant)}; leave it out, and name the file"
            )
        _check_file(self.file)

    def __str__(self) -> str:
        return f"{self.file} of {self.model}"


def _part_schema(title: str, about: str, file: Mapping[str, Any], **others: Mapping[str, Any]) -> dict[str, Any]:
    name = {"type": "string", "minLength": 1, "maxLength": MAX_FILE_NAME, **file}
    return record_schema(title, about, model=dict(MODEL_SCHEMA), file=name, **others)


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
        object.__setattr__(self, "weight", check_number("weight", self.weight, -MAX_WEIGHT, MAX_WEIGHT))


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
    vae, unet, transformer
        Components that take the place of the model's own; None for those of the model.
    loras
        In the order in which they are added.
    textual_inversions
        In the order in which the tokenizer learns their words.
    controlnet
        The second network; None for none.
    refiner
        The model of the last steps; None for none.
    """

    vae: ModelRef | None = None
    unet: ModelRef | None = None
    transformer: ModelRef | None = None
    loras: tuple[Lora, ...] = ()
    textual_inversions: tuple[TextualInversion, ...] = ()
    controlnet: ModelRef | None = None
    refiner: ModelRef | None = None

    def references(self) -> dict[str, ModelRef]:
        """Return what it names, by the field of the task."""
        alone = (*COMPONENTS, "controlnet", "refiner")
        found = {name: getattr(self, name) for name in alone if getattr(self, name) is not None}
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
