"""Samples from files: tables, and folders as ``crynux-validate run`` writes them."""

import hashlib
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Final, Protocol

from crynux_validate.answers import ErrorReport, ImageScore, answer_from_bytes
from crynux_validate.calibration.fields import CHEAT, HONEST, UNRELATED
from crynux_validate.calibration.samples import Sample, Samples
from crynux_validate.calibration.tables import read_rows
from crynux_validate.encoding import canonical_json, check_type, parse_json, shorten
from crynux_validate.errors import CrynuxValidateError, InvalidInputError
from crynux_validate.files import read_limited
from crynux_validate.hashing import PerceptualHash
from crynux_validate.machines.environment import Environment
from crynux_validate.tasks import ImageTask, Task, task_from_json

ANSWER: Final = "answer.bin"
ASKED: Final = "asked.json"
"""In the folder of a cheat that ran another task: the task that it was asked for."""

_MAX_BYTES: Final = 4_000_000
"""More than any file of a result but its pictures has."""

_CHEAT_FOLDER: Final = re.compile(r"cheat[-:](.+)")


class ImageAnswer(Protocol):
    """What `sample_of` takes: an `ImageResult`, or anything else that has these."""

    @property
    def task(self) -> ImageTask:
        """The task."""

    @property
    def score(self) -> ImageScore:
        """What was answered."""

    @property
    def hashes(self) -> Sequence[PerceptualHash]:
        """The hash of each picture, with its margin."""


def sample_of(
    answer: ImageAnswer, role: str = HONEST, *, kind: str | None = None, asked: ImageTask | None = None
) -> Sample:
    """Return the sample of a result in memory.

    Parameters
    ----------
    answer
        An `ImageResult`, or what has a `task`, a `score` and `hashes` as it has.
    role
        ``honest``, ``unrelated`` or ``cheat:<name>``.
    kind
        The name of the kind of machine; None for `kind_of` the result's environment.
    asked
        The task that was asked for, where a cheat ran another one; None for that which was run.

    Raises
    ------
    InvalidInputError
        For what is no result, or has no environment where no kind is given.
    """
    for name in ("task", "score", "hashes"):
        if not hasattr(answer, name):
            raise InvalidInputError(
                f"answer is {shorten(answer)}; expected an ImageResult, with task, score and hashes"
            )
    if kind is None:
        kind = kind_of(getattr(answer, "environment", None))
    if asked is not None:
        check_type(asked, ImageTask, "asked", "an ImageTask")
    return _sample(asked or answer.task, answer.score, [found.margin for found in answer.hashes], role, kind)


def kind_of(environment: Environment | None) -> str:
    """Return a name for the kind of machine that an environment describes.

    The card or the processor, the card that is emulated, and 12 digits of a digest over all that decides bits and is
    not the task's: the kernel and the numerics record, and the versions of the recipe. Two machines of one name give
    equal bits; two that differ in a version have two names, and count once where their pixels are equal.
    """
    if not isinstance(environment, Environment):
        raise InvalidInputError(f"environment is {shorten(environment)}; expected an Environment, or give kind, a name")
    versions = (environment.recipe or {}).get("versions")
    parts = [environment.kernel_digest.hex(), environment.numerics_digest.hex(), versions]
    digest = hashlib.sha256(canonical_json(parts)).hexdigest()[:12]
    names = (_name(environment.kernel, part) for part in ("accelerator", "processor"))
    name = next((found for found in names if found), str(environment.kernel.get("device") or "machine"))
    emulated = environment.numerics.get("tensor_cores")
    if isinstance(emulated, Mapping):
        name = f"{emulated.get('architecture')} on {name}"
    return f"{''.join(letter for letter in name if letter.isprintable())[:150]} {digest}"


def _name(kernel: Mapping[str, Any], part: str) -> str:
    record = kernel.get(part)
    return str(record.get("name") or "") if isinstance(record, Mapping) else ""


def read_samples(*paths: str | PathLike[str]) -> Samples:
    """Read answers from folders and tables.

    Parameters
    ----------
    paths
        Tables, by their suffixes ``.csv``, ``.jsonl``, ``.parquet``: the columns are those of `Sample`, and ``margin``,
        ``degenerate`` and ``pixels`` may be left out. Folders: all results of ``crynux-validate run`` in them, at any
        depth. The name of the folder that a result lies in gives its role: ``honest``, ``unrelated``, or
        ``cheat-NAME`` for the cheat NAME (``cheat:NAME`` is the same, where a file system takes it). Where a cheat ran
        another task than it was asked for, the one that it was asked for lies beside it as ``asked.json``.

    Returns
    -------
    Samples
        In the order of the paths; the results of a folder in the order of their names.

    Raises
    ------
    InvalidInputError
        Names the file, and the row or line, of whatever is wrong.
    MissingExtraError
        For Parquet without the package pyarrow.
    """
    if not paths:
        raise InvalidInputError("no path was given; name tables, or folders with results of crynux-validate run")
    places: list[str] = []
    rows: list[Sample] = []
    for given in paths:
        check_type(given, (str, PathLike), "a path", "the name of a table or a folder")
        before = len(rows)
        for place, row in _read(Path(given)):
            places.append(place)
            rows.append(row)
        if len(rows) == before:
            raise InvalidInputError(f"{Path(given)} holds no answer; name a table with rows, or a folder with results")
    return Samples.of(rows, places)


def role_of(folder: Path) -> str:
    """Return the role that the folder above a result gives it; raises `InvalidInputError` where it gives none."""
    name = Path(os.path.abspath(folder)).parent.name
    role = _role(name)
    if role is None:
        raise InvalidInputError(
            f"{folder} lies in a folder called {shorten(name)}; expected {HONEST}, {UNRELATED} or cheat-NAME: the"
            " folder above a result says what the result is"
        )
    return role


def _read(path: Path) -> Iterator[tuple[str, Sample]]:
    try:
        if path.is_dir():
            return _read_folder(path)
        if path.is_file():
            return read_rows(path)
        kind = "a device or a pipe" if path.exists() else "not there"
    except OSError as error:
        raise InvalidInputError(f"cannot read {path}: {error.strerror or error}") from error
    raise InvalidInputError(f"{path} is {kind}; name a table or a folder")


def _read_folder(root: Path) -> Iterator[tuple[str, Sample]]:
    """Yield the results in a folder, itself included; links are followed, each folder is read once.

    A link that gives a folder another role is refused: one of the two would be missing.
    """
    seen: dict[str, tuple[str, set[str]]] = {}
    for folder, names, files in os.walk(root, followlinks=True, onerror=_unreadable):
        names.sort()
        real = os.path.realpath(folder)
        roles = {part for part in Path(os.path.abspath(folder)).parts[-2:] if _role(part)}
        if real in seen:
            first, others = seen[real]
            if roles - others and others:
                raise InvalidInputError(
                    f"{folder} and {first} are one folder, and their roles differ; copy it, or remove the link"
                )
            names.clear()
            continue
        seen[real] = folder, roles
        if ANSWER in files or "task.json" in files:
            path = Path(folder)
            yield str(path), _result(path)


def _role(name: str) -> str | None:
    """The role that a folder of this name gives; None where it gives none."""
    if name in (HONEST, UNRELATED):
        return name
    return CHEAT + found[1] if (found := _CHEAT_FOLDER.fullmatch(name)) else None


def _unreadable(error: OSError) -> None:
    raise InvalidInputError(f"cannot read {error.filename}: {error.strerror or error}") from error


def _result(folder: Path) -> Sample:
    """Read one result."""
    role = role_of(folder)
    answer = _answer_of(folder)
    task = _parsed(folder, "task.json", _task)
    if not isinstance(task, ImageTask):
        raise InvalidInputError(f"{folder} answers a text task; a calibration is of images")
    readable = _parsed(folder, "answer.json", lambda data: parse_json(data, "it", _MAX_BYTES))
    margins = readable.get("margins") if isinstance(readable, dict) else None
    if not isinstance(margins, list) or len(margins) != len(answer.blocks):
        raise InvalidInputError(f"{folder / 'answer.json'}: margins is {shorten(margins)}; expected one for each image")
    for name, known in (("task_digest", task.digest), ("score", answer.hex), ("algorithm", answer.algorithm)):
        if readable.get(name) != known:
            raise InvalidInputError(
                f"{folder / 'answer.json'}: {name} is {shorten(readable.get(name))}, but the files beside it have"
                f" {known}; they are of two runs: run the task again"
            )
    environment = _parsed(
        folder, "environment.json", lambda data: Environment.from_dict(parse_json(data, "it", _MAX_BYTES))
    )
    return _sample(_asked(folder, task, role), answer, margins, role, kind_of(environment))


def _asked(folder: Path, ran: ImageTask, role: str) -> ImageTask:
    """Return the task that was asked for: of a cheat it may be another one than that which it ran."""
    path = folder / ASKED
    if not path.exists():
        return ran
    if not role.startswith(CHEAT):
        raise InvalidInputError(f"{path} is for cheats, and this result is {role}; remove the file")
    asked = _parsed(folder, ASKED, _task)
    if not isinstance(asked, ImageTask) or (asked.images, asked.algorithm) != (ran.images, ran.algorithm):
        raise InvalidInputError(f"{path} asks for other images or another hash than {folder / 'task.json'} gives")
    return asked


def _task(data: bytes) -> Task:
    return task_from_json(data, allow_unpinned=True)


def _answer_of(folder: Path) -> ImageScore:
    path = folder / ANSWER
    if not path.exists():
        raise InvalidInputError(
            f"{folder} holds a task and no {ANSWER}: the run was interrupted; run it again, or remove the folder"
        )
    answer = _parsed(folder, ANSWER, answer_from_bytes)
    if isinstance(answer, ErrorReport):
        raise InvalidInputError(f"{path} is a report ({shorten(str(answer))}) and no score; remove the folder")
    if not isinstance(answer, ImageScore):
        raise InvalidInputError(f"{path} answers a text task; a calibration is of images")
    return answer


def _parsed(folder: Path, name: str, parse: Callable[[bytes], Any]) -> Any:
    """Read a file of a result; whatever is wrong with it names it."""
    path = folder / name
    data = read_limited(path, _MAX_BYTES)
    try:
        return parse(data)
    except CrynuxValidateError as error:
        raise InvalidInputError(f"{path}: {error}") from error


def _sample(task: ImageTask, score: ImageScore, margins: Sequence[float], role: str, kind: str) -> Sample:
    return Sample(
        kind=kind,
        task=task.digest,
        model=task.loads,
        role=role,
        algorithm=score.algorithm,
        score=score.hashes,
        margin=min(margins),
        degenerate=bool(score.degenerate),
        pixels=score.result_digest,
    )
