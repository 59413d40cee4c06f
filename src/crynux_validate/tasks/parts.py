"""Parts that an image task loads besides its model: components, LoRAs, embeddings, each pinned (protocol T1)."""

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
"""The largest number of LoRAs, and of textual inversions, of one task."""

COMPONENTS: Final = ("vae", "unet", "transformer")
"""The fields of a task whose model replaces a component."""

LISTS: Final = ("loras", "textual_inversions")
"""The fields of a task that are lists of parts."""

MAX_FILE_NAME: Final = 256
MAX_TOKEN: Final = 64
MAX_WEIGHT: Final = 10.0

_SUFFIX: Final = ".safetensors"


@dataclass(frozen=True)
class Part(Record):
    """A file of a repository or of a local folder.

    Parameters
    ----------
    model
        The repository at a commit, or the local folder with its digest (`ModelRef.local`), without a variant.
    file
        The path of the file, with ``/`` between folders; safetensors only, since pickles can run code.

    Raises
    ------
    InvalidTaskError
        For an invalid field, which the message names.
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
        The file, as for `Part`. The default name is that of diffusers.
    weight
        The factor with which the LoRA is added, -10 to 10.
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
        The file, as for `Part`.
    token
        The word for the vectors in prompts, like ``<cat-toy>``: 1 to 64 printable characters without spaces.
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
    """The parts that an image task loads besides its model.

    Parameters
    ----------
    vae, unet, transformer
        Components that replace the model's own; None for the model's own.
    loras
        The LoRAs, in the order in which they are added.
    textual_inversions
        The textual inversions, in the order in which the tokenizer gets their words.
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
        """Return the models of the parts, by the name of their field."""
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
    """Read the list of parts in a task's field; errors name the part that is wrong."""
    if not isinstance(value, list | tuple):
        raise InvalidTaskError(name, f"is {shorten(value)}; expected a list of objects")
    return tuple(read_part(f"{name}.{at}", item, read) for at, item in enumerate(value))


def read_component(name: str, value: object, read: Callable[[Any], ModelRef]) -> ModelRef:
    """Read the model in a field of its own; errors name the field."""
    try:
        return read(value)
    except InvalidTaskError as error:
        raise InvalidTaskError(name + error.field.removeprefix("model"), error.problem, error.code) from error


def _check_file(name: object) -> None:
    """Refuse a name that is not a path of a file in a folder, or that the folder's digest does not cover."""
    if not isinstance(name, str):
        raise InvalidTaskError("file", f"is {shorten(name)}; expected the name of a {_SUFFIX} file")
    if not 1 <= len(name) <= MAX_FILE_NAME or not name.isprintable() or "\\" in name:
        raise InvalidTaskError(
            "file", f"is {shorten(name)}; expected 1 to {MAX_FILE_NAME} printable characters without backslashes"
        )
    if any(not part or part.startswith(".") for part in name.split("/")):
        raise InvalidTaskError(
            "file", f"is {shorten(name)}; expected a file in the folder whose name does not begin with a dot"
        )
    if not name.endswith(_SUFFIX):
        raise InvalidTaskError(
            "file", f"is {shorten(name)}; expected a {_SUFFIX} file, since other formats can run code", "unsupported"
        )
