"""The model of a task: a repository of the hub at a commit, or a local folder with a digest (protocol T1)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from dataclasses import replace as dataclass_replace
from os import PathLike
from pathlib import Path
from typing import Any

from pydantic_core import CoreSchema, core_schema

from crynux_validate.encoding import check_flag, shorten, shorten_name, summary
from crynux_validate.errors import InvalidInputError, InvalidTaskError, ModelError
from crynux_validate.frozen import thaw
from crynux_validate.tasks.folder import OnDigest, folder_digest
from crynux_validate.tasks.wire import MODEL_SCHEMA, wire_schema

_REPOSITORY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}(/[A-Za-z0-9][A-Za-z0-9._-]{0,95})?")
_VARIANT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class ModelRef:
    """A model: a repository of the hub at a commit, or a local folder with the digest of its content (protocol T1).

    Parameters
    ----------
    repository
        ``owner/name`` on the model hub. It becomes lower case, since the hub ignores case.
    revision
        The commit, 40 hexadecimal digits. A branch or a tag can change, so that honest nodes would load different
        weights: it needs `allow_unpinned`, and ledgers refuse the task.
    variant
        The variant of the weight files (``fp16``), or None for the plain ones.
    digest
        The digest of a local folder (`folder_digest`) instead of a repository; see `ModelRef.local`.
    path
        The path of that folder on this machine. It is not a part of the task.
    allow_unpinned
        Accept a revision that can change, for runs on one machine.

    Raises
    ------
    InvalidTaskError
        For an invalid field, which the message names, and for a revision that can change.
    """

    repository: str | None = None
    revision: str | None = None
    variant: str | None = None
    digest: str | None = None
    path: Path | None = field(default=None, compare=False)
    allow_unpinned: bool = field(default=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        check_flag(self.allow_unpinned, "allow_unpinned")
        if (self.repository is None) == (self.digest is None):
            raise InvalidTaskError(
                "model",
                "has no or two names; give a repository with its revision, or the digest of a local folder",
            )
        if self.variant is not None:
            self._check("variant", self.variant, _VARIANT, "letters, digits, '-' and '_', like 'fp16'")
        if self.repository is None:
            self._check("digest", self.digest, _SHA256, "64 lower-case hexadecimal digits (see ModelRef.local)")
            if self.revision is not None:
                raise InvalidTaskError(
                    "model.revision", "is given for a local folder, which its digest pins; leave it out"
                )
            return
        self._check("repository", self.repository, _REPOSITORY, "a hub repository like 'owner/name'")
        object.__setattr__(self, "repository", self.repository.lower())
        if self.path is not None:
            raise InvalidTaskError(
                "model.path", "is given for a repository; leave it out, or use ModelRef.local for a folder"
            )
        if not isinstance(self.revision, str) or not 1 <= len(self.revision) <= 128:
            raise InvalidTaskError(
                "model.revision", f"is {shorten(self.revision)}; expected the commit, 40 hexadecimal digits"
            )
        if not self.pinned and not self.allow_unpinned:
            raise InvalidTaskError(
                "model.revision",
                f"is {shorten(self.revision)}, which can change; name the commit (40 lower-case hexadecimal digits) or "
                "pass allow_unpinned=True to run the task on this machine only",
            )

    @classmethod
    def local(
        cls, path: str | PathLike[str], *, variant: str | None = None, on_progress: OnDigest | None = None
    ) -> "ModelRef":
        """Return a reference to the model in a local folder, by the digest of its files (`folder_digest`)."""
        return cls(digest=folder_digest(path, on_progress), path=Path(path), variant=variant)

    @property
    def pinned(self) -> bool:
        """Whether every node loads the same weights for this reference."""
        return self.digest is not None or _COMMIT.fullmatch(self.revision or "") is not None

    def at(self, path: str | PathLike[str], on_progress: OnDigest | None = None) -> "ModelRef":
        """Return this reference with the model's folder on this machine.

        Parameters
        ----------
        path
            The folder. All of its files are read (`folder_digest`).
        on_progress
            Called while the folder is read.

        Raises
        ------
        InvalidInputError
            If the reference names a repository.
        ModelError
            If the folder cannot be read, or has another digest.
        """
        if self.digest is None:
            raise InvalidInputError(
                f"the model is the repository {shorten(self.repository)}, not a local folder: leave the folder out"
            )
        found = folder_digest(path, on_progress)
        if found != self.digest:
            raise ModelError(f"the task needs the model {self.digest}, but the folder {path} has {found}")
        return dataclass_replace(self, path=Path(path))

    def to_dict(self) -> dict[str, str | None]:
        """Return the fields that are in the task's canonical bytes."""
        if self.digest is not None:
            return {"digest": self.digest, "variant": self.variant}
        return {"repository": self.repository, "revision": self.revision, "variant": self.variant}

    @classmethod
    def from_dict(cls, value: object, *, allow_unpinned: bool = False) -> "ModelRef":
        """Read what `to_dict` writes; the value may come from anybody."""
        if not isinstance(value, dict):
            raise InvalidTaskError("model", f"is {shorten(value)}; expected an object with a repository or a digest")
        for key in value:
            if key not in ("repository", "revision", "variant", "digest"):
                known = "repository, revision, digest, variant"
                raise InvalidTaskError(
                    f"model.{shorten_name(str(key))}", f"no such field; a model has {known}", "unsupported"
                )
        return cls(**value, allow_unpinned=allow_unpinned)

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: Any) -> CoreSchema:
        """Pydantic reads and writes the wire format, which has no path."""
        return wire_schema(cls, core_schema.is_instance_schema(cls), cls._from_wire)

    @classmethod
    def __get_pydantic_json_schema__(cls, _schema: Any, _handler: Any) -> dict[str, Any]:
        return dict(MODEL_SCHEMA)

    @classmethod
    def _from_wire(cls, value: object) -> "ModelRef":
        try:
            return cls.from_dict(thaw(value))
        except InvalidTaskError as error:
            # Where it stands alone, no task is around it.
            raise InvalidTaskError(error.field.removeprefix("model").lstrip("."), error.problem, error.code) from error

    def __repr__(self) -> str:
        return summary(self, self, None if self.path is None else f"in {self.path}")

    def __str__(self) -> str:
        name = f"{self.repository}@{self.revision}" if self.digest is None else f"sha256:{self.digest}"
        return f"{name} ({self.variant})" if self.variant else name

    @staticmethod
    def _check(name: str, value: object, pattern: re.Pattern[str], expected: str) -> None:
        if not isinstance(value, str) or not pattern.fullmatch(value):
            raise InvalidTaskError(f"model.{name}", f"is {shorten(value)}; expected {expected}")


def in_folder(model: ModelRef, folders: Mapping[str, Path]) -> ModelRef:
    """Return a reference with the folder of its digest, if `folders` has this digest."""
    if model.digest is None or model.digest not in folders:
        return model
    return dataclass_replace(model, path=folders[model.digest])
