"""What a calibration takes from an audit: read from its JSON, and checked."""

import hashlib
import math
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any, Final

import numpy as np

from crynux_validate.audits.bands import model_of
from crynux_validate.audits.findings import AuditFinding
from crynux_validate.audits.image import SAME, Along, Errors, ImageAudit
from crynux_validate.audits.image_bands import PICTURE, PREDICTION
from crynux_validate.audits.text_result import TextAudit
from crynux_validate.calibration.intervals import Floats
from crynux_validate.encoding import canonical_json, check_type, parse_json, shorten
from crynux_validate.errors import InvalidInputError
from crynux_validate.files import read_limited
from crynux_validate.tasks import ImageTask, Task, task_from_json

MAX_FILE_BYTES: Final = 2**30
MAX_AUDIT_BYTES: Final = 4 * 2**20


@dataclass(frozen=True)
class Origin:
    """Where an audit comes from.

    Parameters
    ----------
    name
        What errors call it.
    dtype, model
        Of the task; the model as `model_of` names it.
    thing
        Tells one picture or text from others.
    half
        Which half of the prompts it belongs to, 0 or 1.
    node, auditor
        The kinds of machine.
    versions
        Of the packages, without their build.
    """

    name: str
    dtype: str
    model: str
    thing: Hashable
    half: int
    node: str
    auditor: str
    versions: Mapping[str, str]

    @property
    def pair(self) -> tuple[str, str]:
        """Both kinds, in alphabetical order."""
        return min(self.node, self.auditor), max(self.node, self.auditor)


@dataclass(frozen=True, eq=False)
class ImageRecord:
    """The numbers of one audited picture.

    Parameters
    ----------
    origin
        Where they come from.
    scheduler, size
        The task's; width and height.
    steps
        The errors of each audited step.
    picture, peak
        Of the picture; None where it was not decoded.
    """

    origin: Origin
    scheduler: str
    size: tuple[int, int]
    steps: tuple[Errors, ...]
    picture: float | None
    peak: float | None

    @cached_property
    def values(self) -> Mapping[str, Floats]:
        """Each statistic of the steps that have other bits, or of the picture."""
        found = {name: [step.of(name) for step in self.steps if not step.equal] for name in (*PREDICTION, "latent")}
        found |= {name: [getattr(self, name)] for name in PICTURE}
        return _arrays(found)

    @cached_property
    def shared(self) -> Mapping[str, Floats]:
        """What means of several steps take of the steps that have other bits."""
        return _arrays({name: [step.shared(name) for step in self.steps if not step.equal] for name in PREDICTION})


@dataclass(frozen=True, eq=False)
class TextRecord:
    """The numbers of one audited text.

    Parameters
    ----------
    origin
        Where they come from.
    margins
        Of each token; float64 of shape (tokens,).
    rows
        The logarithm of how far each opened row is off; float64 of shape (positions,).
    """

    origin: Origin
    margins: Floats
    rows: Floats


def _arrays(found: Mapping[str, Iterable[float | None]]) -> dict[str, Floats]:
    return {name: np.array([one for one in of if one is not None], np.float64) for name, of in found.items()}


def read_audits(*paths: str | PathLike[str]) -> list[dict[str, Any]]:
    """Read audits that ``crynux-validate audit --json`` wrote.

    Parameters
    ----------
    paths
        Files with one audit, files ``.jsonl`` with one a line, or folders with such files (``audit*.json``).

    Raises
    ------
    InvalidInputError
        For what cannot be read, and what is no JSON object.
    """
    found = []
    for path in map(Path, paths):
        inside = sorted([*path.rglob("audit*.json"), *path.rglob("*.jsonl")]) if path.is_dir() else [path]
        if not inside:
            raise InvalidInputError(f"{path} has no audits; expected files audit*.json or *.jsonl")
        for file in inside:
            data = read_limited(file, MAX_FILE_BYTES)
            for at, one in enumerate(data.splitlines() if file.suffix == ".jsonl" else [data], 1):
                name = f"{file}, line {at}" if file.suffix == ".jsonl" else str(file)
                value = parse_json(one, name, MAX_AUDIT_BYTES)
                check_type(value, dict, name, "an audit, as crynux-validate audit --json writes it")
                found.append({**value, "name": name})
    return found


def records_of(audits: Iterable[Any], what: str) -> tuple[list[ImageRecord], list[TextRecord]]:
    """Return the numbers of audits, given as objects or as their JSON values."""
    check_type(audits, Iterable, what, "audits, or what read_audits returns")
    images: list[ImageRecord] = []
    texts: list[TextRecord] = []
    for at, audit in enumerate(audits):
        name = f"{what}[{at}]"
        check_type(audit, (ImageAudit, TextAudit, Mapping), name, "an ImageAudit, a TextAudit, or their JSON values")
        value = audit if isinstance(audit, Mapping) else audit.to_dict()
        name = str(value.get("name", name))
        try:
            found = _record(value, name)
        except InvalidInputError:
            raise
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise InvalidInputError(
                f"{name} is no audit ({type(error).__name__}: {shorten(str(error))}); expected what audit --json writes"
            ) from error
        if isinstance(found, ImageRecord):
            images.append(found)
        else:
            texts.append(found)
    return images, texts


def _record(value: Mapping[str, Any], name: str) -> ImageRecord | TextRecord:
    if "task" not in value:
        raise InvalidInputError(f"{name} does not hold its task; audit again with this version")
    task = task_from_json(value["task"], allow_unpinned=True)
    if task.digest != value["task_digest"]:
        raise InvalidInputError(f"{name} is of the task {shorten(value['task_digest'])}, and holds another")
    origin = _origin(value, name, task)
    if isinstance(task, ImageTask):
        return _image(value, origin, task)
    return _text(value, origin)


def _origin(value: Mapping[str, Any], name: str, task: Task) -> Origin:
    kinds, versions = value["kinds"], value["versions"]
    if not (isinstance(kinds, list) and len(kinds) == 2 and all(isinstance(one, str) and one for one in kinds)):
        raise InvalidInputError(
            f"{name} has the kinds {shorten(kinds)}; expected two names: audit again, and name both kinds of machine"
        )
    public = {str(package): str(of).partition("+")[0] for package, of in dict(versions).items()}
    if "torch" not in public:
        raise InvalidInputError(f"{name} does not say which torch computed it; audit again with this version")
    asked = task.prompt if isinstance(task, ImageTask) else (task.messages, task.prompt, task.token_ids)
    read = [asked] if isinstance(asked, str) else [_plain(one) for one in asked]
    half = hashlib.sha256(canonical_json(read)).digest()[0] & 1
    node, auditor = kinds
    thing = (task.digest, value.get("image"))
    return Origin(name, task.dtype, model_of(task), thing, half, node, auditor, public)


def _plain(value: Any) -> Any:
    """JSON values of what a task keeps frozen."""
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list | tuple) else value


def _image(value: Mapping[str, Any], origin: Origin, task: ImageTask) -> ImageRecord:
    picture = value["picture"]
    if AuditFinding(value["first"]["finding"]) is AuditFinding.CHEAT:
        raise InvalidInputError(f"{origin.name} begins with another seed's latent; give audits of honest nodes alone")
    if AuditFinding(picture["finding"]) is AuditFinding.CHEAT and picture["times"] is None:
        raise InvalidInputError(f"{origin.name} shows a picture that its answer does not; give honest audits alone")
    numbers = [step["step"] for step in value["steps"]]
    if not numbers or len(set(numbers)) < len(numbers):
        raise InvalidInputError(f"{origin.name} has the steps {shorten(numbers)}; expected different ones")
    steps = tuple(_step(step, f"step {step['step']} of {origin.name}") for step in value["steps"])
    off, peak = picture["off"], picture["peak"]
    if off is not None:
        off, peak = _number(off, f"the picture of {origin.name}"), _number(peak, f"the picture of {origin.name}")
    return ImageRecord(origin, task.scheduler, (task.width, task.height), steps, off, peak)


def _step(value: Mapping[str, Any], name: str) -> Errors:
    if AuditFinding(value["finding"]) is AuditFinding.MATCH:
        return SAME
    sizes: dict[str, Any] = {
        key: _number(value[key], f"{key} of {name}") for key in ("length", "prediction", "smooth", "latent")
    }
    along: dict[str, Any] = {
        key: None
        if value[key] is None
        else Along(*(_number(value[key][of], f"{key} of {name}", signed=True) for of in ("off", "times")))
        for key in ("guidance", "reuse", "against")
    }
    return Errors(equal=False, **sizes, **along)


def _text(value: Mapping[str, Any], origin: Origin) -> TextRecord:
    name, tokens = origin.name, value["tokens"]
    if type(tokens) is not int or tokens < 1 or tokens != value["of"]:
        raise InvalidInputError(
            f"{name} looked at {shorten(tokens)} of {shorten(value['of'])} tokens; audit it with whole=True"
        )
    margins = np.zeros(tokens)
    for place, margin in value["odd_margins"]:
        if type(place) is not int or not 0 <= place < tokens:
            raise InvalidInputError(f"{name} has a margin of the token {shorten(place)}, and {tokens} tokens")
        margins[place] = _number(margin, f"a margin of {name}")
    if len(value["odd_margins"]) != value["odd"]:
        raise InvalidInputError(f"{name} has {shorten(value['odd'])} odd tokens, and other margins; audit again")
    rows = [_number(row, f"a row of {name}", signed=True) for row in value["row_logs"]]
    if not rows:
        raise InvalidInputError(f"{name} has no opened rows; calibrate with texts that bind top")
    return TextRecord(origin, margins, np.array(rows))


def _number(value: Any, what: str, *, signed: bool = False) -> float:
    right = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not right or (value < 0 and not signed):
        kind = "a finite number" if signed else "a finite number of 0 or more"
        raise InvalidInputError(f"{what} is {shorten(value)}; expected {kind}, as of an honest node")
    return float(value)
