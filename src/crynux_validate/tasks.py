"""What is asked, complete: the same task on the same kind of machine gives the same answer.

A task is named by its digest, which is taken over its canonical bytes (protocol T2). Whatever a task does not name has
a default that is written into those bytes (T1). JSON from a stranger is validated before anything else touches it (T3).
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from dataclasses import replace as dataclass_replace
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any, Final, Literal, NoReturn

from pydantic import BaseModel, ConfigDict, Field, InstanceOf, ValidationError

from crynux_validate.algorithms import IMAGE_ALGORITHMS, ImageAlgorithm
from crynux_validate.encoding import MAX_SAFE_INTEGER, canonical_json, digest, length_prefixed, parse_json, shorten
from crynux_validate.errors import InvalidInputError, InvalidTaskError, ModelError, ReportCode
from crynux_validate.frozen import FrozenMapping
from crynux_validate.schedulers import SchedulerArgument, check_scheduler

Dtype = Literal["float32", "float16", "bfloat16"]
DTYPES: Final[tuple[Dtype, ...]] = ("float32", "float16", "bfloat16")

IMAGE_SCHEMA: Final = "crynux-validate/image-task/1"
UNPINNED_IMAGE_SCHEMA: Final = "crynux-validate/image-task-unpinned/1"
"""The schema id of a task whose model may change under its name; ledgers refuse it (T1)."""

MAX_TASK_BYTES: Final = 65_536
MAX_PROMPT_BYTES: Final = 8_192
MAX_IMAGES: Final = 16
SIDES: Final = range(64, 4097, 8)
"""Width and height in pixels: latents are an eighth of them."""

_REPOSITORY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}(/[A-Za-z0-9][A-Za-z0-9._-]{0,95})?")
_VARIANT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class ModelRef:
    """Which weights: a hub repository at a pinned revision, or the content digest of a local folder (T1).

    Parameters
    ----------
    repository
        ``owner/name`` on the model hub.
    revision
        The commit, 40 hexadecimal digits. A branch or a tag may move, and makes honest nodes load different weights:
        it needs `allow_unpinned`, and such a task is refused by ledgers.
    variant
        The variant of the weight files (``fp16``), or None for the plain ones.
    digest
        The digest of a local folder (`folder_digest`), instead of a repository; see `ModelRef.local`.
    path
        Where that folder lies on this machine. It is no part of the task: equal folders elsewhere are the same model.
    allow_unpinned
        Accept a revision that can move; for runs on one machine.

    Raises
    ------
    InvalidTaskError
        For what names no model, and for a moving revision.
    """

    repository: str | None = None
    revision: str | None = None
    variant: str | None = None
    digest: str | None = None
    path: Path | None = field(default=None, compare=False)
    allow_unpinned: bool = field(default=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        if (self.repository is None) == (self.digest is None):
            raise InvalidTaskError("model", "name a repository with its revision, or the digest of a local folder")
        if self.variant is not None:
            self._check("variant", self.variant, _VARIANT, "letters, digits, '-' and '_', like 'fp16'")
        if self.repository is None:
            self._check("digest", self.digest, _SHA256, "64 lower-case hexadecimal digits (see ModelRef.local)")
            if self.revision is not None:
                raise InvalidTaskError("model.revision", "a local folder has none: its digest pins it")
            return
        self._check("repository", self.repository, _REPOSITORY, "a hub repository like 'owner/name'")
        if self.path is not None:
            raise InvalidTaskError("model.path", "a repository has none; use ModelRef.local for a folder")
        if not isinstance(self.revision, str) or not 1 <= len(self.revision) <= 128:
            raise InvalidTaskError(
                "model.revision", f"is {self.revision!r}; expected the commit, 40 hexadecimal digits"
            )
        if not self.pinned and not self.allow_unpinned:
            raise InvalidTaskError(
                "model.revision",
                f"{self.revision!r} can move, so that honest nodes load different weights; name the commit (40 "
                "lower-case hexadecimal digits), or pass allow_unpinned=True for a run on this machine alone",
            )

    @classmethod
    def local(cls, path: str | PathLike[str], *, variant: str | None = None) -> "ModelRef":
        """Name the model in a local folder by the digest of its files (reads all of them)."""
        return cls(digest=folder_digest(path), path=Path(path), variant=variant)

    @property
    def pinned(self) -> bool:
        """Whether every node that follows this reference loads the same weights."""
        return self.digest is not None or _COMMIT.fullmatch(self.revision or "") is not None

    def at(self, path: str | PathLike[str]) -> "ModelRef":
        """Return this reference with the folder that holds it on this machine.

        Raises
        ------
        InvalidInputError
            Where the reference names a repository.
        ModelError
            Where the folder cannot be read, or its content is not what the digest says: this machine's fault, not the
            task's.
        """
        if self.digest is None:
            raise InvalidInputError(f"the model is the repository {self.repository!r}, not a local folder: name none")
        found = folder_digest(path)
        if found != self.digest:
            raise ModelError(f"the task asks for the model {self.digest}, the folder {path} holds {found}")
        return dataclass_replace(self, path=Path(path))

    def to_dict(self) -> dict[str, str | None]:
        """Return what is canonical of it."""
        if self.digest is not None:
            return {"digest": self.digest, "variant": self.variant}
        return {"repository": self.repository, "revision": self.revision, "variant": self.variant}

    @classmethod
    def from_dict(cls, value: object, *, allow_unpinned: bool = False) -> "ModelRef":
        """Read what `to_dict` writes, from a stranger."""
        if not isinstance(value, dict):
            raise InvalidTaskError("model", f"is {shorten(value)}; expected an object with a repository or a digest")
        for key in value:
            if key not in ("repository", "revision", "variant", "digest"):
                known = "repository, revision, digest, variant"
                raise InvalidTaskError(f"model.{key}", f"no such field; a model has {known}", "unsupported")
        return cls(**value, allow_unpinned=allow_unpinned)

    def __str__(self) -> str:
        name = f"{self.repository}@{self.revision}" if self.digest is None else f"sha256:{self.digest}"
        return f"{name} ({self.variant})" if self.variant else name

    @staticmethod
    def _check(name: str, value: object, pattern: re.Pattern[str], expected: str) -> None:
        if not isinstance(value, str) or not pattern.fullmatch(value):
            raise InvalidTaskError(f"model.{name}", f"is {shorten(value)}; expected {expected}")


def folder_digest(path: str | PathLike[str]) -> str:
    """Digest the content of a model folder (protocol, "Bytes"): 64 hexadecimal digits.

    The names and the SHA-256 of all files below it count; dot-files and dot-folders do not, nor do dates or owners.

    Raises
    ------
    ModelError
        Where there is no such folder, no file in it, or one that cannot be read.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise ModelError(f"{folder} is not a folder; give the folder that holds model_index.json")
    files: dict[str, str] = {}
    for file in sorted(folder.rglob("*")):
        name = file.relative_to(folder)
        if file.is_file() and not any(part.startswith(".") for part in name.parts):
            try:
                with file.open("rb") as stream:
                    files[name.as_posix()] = hashlib.file_digest(stream, "sha256").hexdigest()
            except OSError as error:
                raise ModelError(f"{file} cannot be read: {error.strerror or error}") from error
    if not files:
        raise ModelError(f"{folder} holds no files; give the folder that holds model_index.json")
    return digest("folder", length_prefixed(canonical_json(files))).hex()


class ImageTask(BaseModel):
    """An image to draw with Stable Diffusion, complete (protocol T1).

    Parameters
    ----------
    model
        Which weights.
    prompt, negative_prompt
        UTF-8 text of at most 8,192 bytes each. What the model's tokenizer cannot hold is refused when it runs, since
        only the model knows.
    seed
        0 to 2^53-1. Noise is keyed by (seed, image, draw), so image *i* does not depend on those before it.
    steps
        Denoising steps, 1 to 500; some schedulers allow fewer (see `crynux_validate.schedulers`).
    width, height
        Pixels, 64 to 4,096, multiples of 8.
    guidance_scale
        Classifier-free guidance (arXiv 2207.12598), 0 to 50; at 1 or below there is none.
    images
        How many images, 1 to 16.
    scheduler, scheduler_args
        A diffusers class name and arguments, from `crynux_validate.schedulers.SCHEDULERS`.
    dtype
        What the weights are loaded as and the computation runs in.
    safety_checker
        Whether the model's own safety checker runs; it can blank an image.
    algorithm
        The perceptual hash of the score.

    Raises
    ------
    InvalidTaskError
        Names the field, the value and what was expected; its `code` is what a node reports (A1).
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False, defer_build=True)

    model: InstanceOf[ModelRef]
    prompt: str
    negative_prompt: str = ""
    seed: int = 0
    steps: int = 25
    width: int = 512
    height: int = 512
    guidance_scale: float = 7.5
    images: int = 1
    scheduler: str = "DDIMScheduler"
    scheduler_args: Mapping[str, SchedulerArgument] = Field(default_factory=dict)
    dtype: Dtype = "float32"
    safety_checker: bool = False
    algorithm: ImageAlgorithm = "phash/1"

    def __init__(self, **fields: Any) -> None:
        try:
            super().__init__(**fields)
        except ValidationError as error:
            _raise_first(error)
        sizes = {name: _utf8_size(name, getattr(self, name)) for name in ("prompt", "negative_prompt")}
        arguments = check_scheduler(self.scheduler, self.scheduler_args, self.steps)
        self.__dict__["scheduler_args"] = FrozenMapping(arguments)
        _check_limits(self, sizes)
        size = len(self.canonical_bytes)
        if size > MAX_TASK_BYTES:
            raise InvalidTaskError(
                "", f"the task has {size} canonical bytes; expected at most {MAX_TASK_BYTES}", "limits"
            )

    @property
    def schema_id(self) -> str:
        """The id under which its canonical bytes are read."""
        return IMAGE_SCHEMA if self.model.pinned else UNPINNED_IMAGE_SCHEMA

    @cached_property
    def canonical_bytes(self) -> bytes:
        """RFC 8785 JSON with every field and the schema id (T2)."""
        return canonical_json(self.to_dict())

    @cached_property
    def digest(self) -> bytes:
        """The task's name: 32 bytes (T2)."""
        return digest("task", length_prefixed(self.canonical_bytes))

    def to_dict(self) -> dict[str, Any]:
        """Return what `task_from_json` reads, as Python values."""
        fields = {name: getattr(self, name) for name in type(self).model_fields}
        fields |= {"model": self.model.to_dict(), "scheduler_args": dict(self.scheduler_args), "schema": self.schema_id}
        return fields

    def to_json(self) -> str:
        """Return the canonical bytes as text."""
        return self.canonical_bytes.decode("utf-8")

    def replace(self, **changes: Any) -> "ImageTask":
        """Return a copy with other values, validated again.

        Another scheduler starts from its own defaults: name its arguments in the same call.
        """
        fields = {name: getattr(self, name) for name in type(self).model_fields}
        if changes.get("scheduler", self.scheduler) != self.scheduler:
            fields["scheduler_args"] = {}
        return ImageTask(**(fields | changes))

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> "ImageTask":  # noqa: ARG002
        """Pydantic's way to copy; it validates here, as `replace` does."""
        return self.replace(**(update or {}))

    def __hash__(self) -> int:
        return hash(self.canonical_bytes)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ImageTask) and self.canonical_bytes == other.canonical_bytes


Task = ImageTask
"""Every kind of task."""


def task_from_json(text: str | bytes, *, allow_unpinned: bool = False) -> Task:
    """Read a task from a stranger's JSON (protocol T3).

    Parameters
    ----------
    text
        JSON of at most 65,536 bytes, canonical or not; ``schema`` says which kind of task it is.
    allow_unpinned
        Accept a task whose model's revision can move; for runs on this machine alone.

    Raises
    ------
    InvalidTaskError
        Names the field, the value and what was expected. Its code follows from the bytes alone, so that all nodes
        report the same (A1).
    """
    try:
        value = parse_json(text, "the task", MAX_TASK_BYTES)
    except InvalidTaskError:
        raise
    except InvalidInputError as error:
        raise InvalidTaskError("", str(error)) from error
    if not isinstance(value, dict):
        raise InvalidTaskError("", f"the task is {shorten(value)}; expected a JSON object")
    fields = dict(value)
    schema = fields.pop("schema", None)
    if schema == UNPINNED_IMAGE_SCHEMA and not allow_unpinned:
        raise InvalidTaskError(
            "schema",
            f"{schema!r}: the model's revision can move; name its commit (40 hexadecimal digits), or allow an unpinned "
            "model for a run on this machine alone",
        )
    if schema not in (IMAGE_SCHEMA, UNPINNED_IMAGE_SCHEMA):
        raise InvalidTaskError("schema", f"is {shorten(schema)}; expected {IMAGE_SCHEMA!r}")
    if "model" not in fields:
        raise InvalidTaskError("model", "is missing; expected an object with a repository or a digest")
    unpinned = schema == UNPINNED_IMAGE_SCHEMA
    fields["model"] = ModelRef.from_dict(fields["model"], allow_unpinned=unpinned)
    task = ImageTask(**fields)
    if task.schema_id != schema:
        raise InvalidTaskError(
            "schema", f"is {schema!r}, but the model's revision is pinned; expected {task.schema_id!r}"
        )
    return task


def _utf8_size(name: str, text: str) -> int:
    try:
        return len(text.encode("utf-8"))
    except UnicodeEncodeError as error:
        raise InvalidTaskError(name, f"has a lone surrogate at position {error.start}; give valid Unicode") from error


def _check_limits(task: ImageTask, sizes: Mapping[str, int]) -> None:
    for name, size in sizes.items():
        if size > MAX_PROMPT_BYTES:
            raise InvalidTaskError(name, f"has {size} bytes of UTF-8; expected at most {MAX_PROMPT_BYTES}", "limits")
    _check_range("seed", task.seed, 0, MAX_SAFE_INTEGER)
    _check_range("guidance_scale", task.guidance_scale, 0, 50)
    _check_range("images", task.images, 1, MAX_IMAGES)
    for name in ("width", "height"):
        side = getattr(task, name)
        if side not in SIDES:
            low, high = SIDES.start, SIDES.stop - 1
            raise InvalidTaskError(
                name, f"is {shorten(side)}; expected a multiple of 8 from {low} to {high} pixels", "limits"
            )


def _check_range(name: str, value: float, low: int, high: int) -> None:
    if not low <= value <= high:
        raise InvalidTaskError(name, f"is {shorten(value)}; expected {low} to {high}", "limits")


_UNSUPPORTED_VALUES: Final = {"algorithm": IMAGE_ALGORITHMS, "dtype": DTYPES}


def _raise_first(error: ValidationError) -> NoReturn:
    """Turn pydantic's first complaint into ours; a wrong type comes before an unknown value."""
    problems = []
    for item in error.errors(include_url=False, include_context=False):
        name = ".".join(str(part) for part in item["loc"][:2])
        code: ReportCode = "schema"
        problem = f"is {shorten(item['input'])}; {item['msg'][:1].lower()}{item['msg'][1:]}"
        if item["type"] == "missing":
            problem = "is missing; a task needs it"
        elif item["type"] == "extra_forbidden":
            known = ", ".join(ImageTask.model_fields)
            problem, code = f"no such field; a task has {known}", "unsupported"
        elif item["loc"][0] in _UNSUPPORTED_VALUES and isinstance(item["input"], str):
            known = ", ".join(map(repr, _UNSUPPORTED_VALUES[str(item["loc"][0])]))
            problem, code = f"is {shorten(item['input'])}; expected one of {known}", "unsupported"
        elif item["loc"][0] == "scheduler_args":
            problem = f"is {shorten(item['input'])}; expected an object of booleans, numbers and strings"
        problems.append(InvalidTaskError(name, problem, code))
    raise min(problems, key=lambda found: found.code != "schema") from error
