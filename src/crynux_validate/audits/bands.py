"""Bands of images and texts in one file: what they were made from, and for which versions they hold."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from os import PathLike
from typing import Annotated, Any, Final, Self

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, with_config

from crynux_validate.audits.findings import check_kinds
from crynux_validate.audits.image_bands import LEAST_PICTURES, PREDICTION, Band, ImageBands, Name
from crynux_validate.audits.text_bands import TextBand, TextBands
from crynux_validate.encoding import check_type, parse_json, shorten, shorten_name, summary
from crynux_validate.errors import InvalidInputError
from crynux_validate.files import read_limited, write_or_refuse
from crynux_validate.tasks import DTYPES, ImageTask, Task, TextTask

SCHEMA: Final = "crynux-validate/audit-bands/5"
"""The form; a change of it is a new number."""

MAX_BYTES: Final = 4_000_000

PACKAGES: Final = ("torch", "diffusers", "transformers", "numpy")
"""The packages whose versions a band names."""

_OWN: Final = {"images": ("torch", "diffusers"), "texts": ("torch", "transformers")}
"""Those that compute: another version of one of them can round in another way."""

_EXPECTED: Final = "expected a file that crynux-validate calibrate-audits or AuditBands.save wrote"


@with_config(ConfigDict(extra="forbid"))
@dataclass(frozen=True)
class AuditBands:
    """What honest machines may be apart, by dtype: made by `crynux_validate.calibration.calibrate_audits`.

    Parameters
    ----------
    images, texts
        By dtype; a dtype that was not measured is missing.
    versions
        Of the packages that computed: without their build, as 2.13.0 for 2.13.0+cu130.
    made_from
        What was measured, in words.
    """

    images: Mapping[Name, ImageBands]
    texts: Mapping[Name, TextBands]
    versions: Mapping[Name, Name]
    made_from: Annotated[str, Field(max_length=10_000)] = ""

    def __post_init__(self) -> None:
        for name, value, kind in (("images", self.images, ImageBands), ("texts", self.texts, TextBands)):
            check_type(value, Mapping, name, f"a mapping of dtypes to {kind.__name__}")
            for dtype, found in value.items():
                check_type(found, kind, f"{name}[{shorten(dtype)}]", f"a {kind.__name__}")
        check_type(self.versions, Mapping, "versions", "a mapping of packages to versions")
        check_type(self.made_from, str, "made_from", "text")

    def for_image(self, task: ImageTask, kinds: tuple[str, str] | None = None) -> Band | None:
        """Return the band for the steps of a task; None where its dtype and scheduler were not measured.

        One band of a dtype is made from all pairs of kinds. It is marked as not calibrated, with the reason, where it
        was made with other versions, with another model, without this pair of kinds, or with fewer than ten pictures of
        the scheduler. Then nothing is said of what is little beyond its limits (`Band.doubt`).
        """
        check_type(task, ImageTask, "the task", "an ImageTask")
        check_kinds(kinds)
        found = self.images.get(task.dtype)
        if found is None:
            return None
        reasons = [
            self._other_versions("images"),
            "" if model_of(task) in found.models else "no band was made from this model",
            "" if kinds is not None and tuple(sorted(kinds)) in found.kinds else _of_pair(kinds),
            ""
            if found.schedulers.get(task.scheduler, 0) >= LEAST_PICTURES
            else f"fewer than {LEAST_PICTURES} pictures were measured with {task.scheduler}",
        ]
        why = "; ".join(filter(None, reasons))
        return found.band(task.scheduler, why, found.doubt(task.dtype) if why else 1.0)

    def for_text(self, task: TextTask) -> tuple[TextBand, str] | None:
        """Return the band for a task, and why it was not made for it, empty where it was; None where there is none.

        A dtype without a band gets that of bfloat16, the noisiest.
        """
        check_type(task, TextTask, "the task", "a TextTask")
        found = self.texts.get(task.dtype)
        if found is None:
            other = self.texts.get("bfloat16")
            return None if other is None else (other.band, f"no band was made in {task.dtype}; this is bfloat16's")
        reasons = [
            self._other_versions("texts"),
            "" if model_of(task) in found.models else "no band was made from this model",
            "" if task.quantize_bits is None else f"no band was made from weights of {task.quantize_bits} bits",
            "no band was made from texts about pictures" if task.pictures else "",
        ]
        return found.band, "; ".join(filter(None, reasons))

    def _other_versions(self, kind: str) -> str:
        here = installed()
        other = [
            f"{name} {self.versions[name]}, not {here.get(name, 'without it')}"
            for name in _OWN[kind]
            if name in self.versions and here.get(name) != self.versions[name]
        ]
        return f"the band was made with {' and '.join(other)}" if other else ""

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {"schema": SCHEMA, **_adapter().dump_python(self, mode="json", warnings=False)}

    @classmethod
    def from_dict(cls, value: object) -> Self:
        """Read what `to_dict` writes; raises `InvalidInputError` for anything else."""
        check_type(value, Mapping, "the bands", "an object")
        fields: dict[str, Any] = dict(value)  # type: ignore[call-overload]
        schema = fields.pop("schema", None)
        if schema != SCHEMA:
            raise InvalidInputError(f"the schema of the bands is {shorten(schema)}; expected {SCHEMA!r}: {_EXPECTED}")
        try:
            found: Self = _adapter().validate_python(fields)
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False)[0]
            place = shorten_name(".".join(map(str, first["loc"])))
            raise InvalidInputError(f"{place} of the bands is {shorten(first['input'])}; {_EXPECTED}") from error
        _check(found)
        return found

    def save(self, path: str | PathLike[str]) -> None:
        """Write it as JSON, whole or not at all; raises `InvalidInputError` where that is impossible."""
        write_or_refuse(path, (json.dumps(self.to_dict(), indent=1, allow_nan=False) + "\n").encode())

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Self:
        """Read a file that `save` wrote; raises `InvalidInputError` where that is impossible, and as `from_dict`."""
        return cls.from_dict(parse_json(read_limited(path, MAX_BYTES), "the file of bands", MAX_BYTES))

    def __repr__(self) -> str:
        images = [f"images {dtype}: {found.pictures} pictures" for dtype, found in self.images.items()]
        texts = [f"texts {dtype}: {found.texts} texts" for dtype, found in self.texts.items()]
        return summary(self, *images, *texts)

    def __str__(self) -> str:
        lines = [f"made with {', '.join(f'{name} {of}' for name, of in self.versions.items())}"]
        for kind, measured in (("images", self.images), ("texts", self.texts)):
            for dtype, found in measured.items():
                lines.append(f"{kind} in {dtype}: {len(found.kinds)} pairs of kinds")
                for what, rates in (("  of these", found.rates), ("  held out", found.held_out)):
                    lines.append(f"{what}: {'too few to say' if rates is None else rates}")
        return "\n".join(lines)


def model_of(task: Task) -> str:
    """What a task computes with, as bands name it: its model, and what it adds to it (LoRAs, embeddings)."""
    return " + ".join(part.digest or str(part) for part in task.references().values())


def _of_pair(kinds: tuple[str, str] | None) -> str:
    if kinds is None:
        return "no kinds were named"
    return f"no band was made from {shorten_name(kinds[0])} with {shorten_name(kinds[1])}"


def _check(bands: AuditBands) -> None:
    """Refuse what no calibration makes, and what would let a part go unjudged."""
    for kind, measured in (("images", bands.images), ("texts", bands.texts)):
        if not set(measured) <= set(DTYPES):
            raise InvalidInputError(f"{kind} of the bands has {shorten(sorted(measured))}; {_EXPECTED}")
    for dtype, found in bands.images.items():
        wanted = {"prediction", "smooth", "picture", "peak"}
        if not wanted <= set(found.statistics) <= {*PREDICTION, *wanted}:
            raise InvalidInputError(f"the statistics of {dtype} are {shorten(sorted(found.statistics))}; {_EXPECTED}")
        if set(found.means) != set(found.statistics) & set(PREDICTION):
            raise InvalidInputError(f"the means of {dtype} are {shorten(sorted(found.means))}; {_EXPECTED}")
        for name, mean in found.means.items():
            counts = [count for count, _ in mean.limits]
            if counts != sorted(set(counts)):
                raise InvalidInputError(f"the means of {name} in {dtype} have {shorten(counts)} steps; {_EXPECTED}")
        if set(found.latents) != set(found.schedulers) or found.pictures < LEAST_PICTURES:
            raise InvalidInputError(f"the band of {dtype} has {found.pictures} pictures; {_EXPECTED}")
        limits = [spread.limit() for spread in (*found.statistics.values(), *found.latents.values())]
        if 0 in (*limits, *(limit for mean in found.means.values() for _, limit in mean.limits)):
            raise InvalidInputError(f"a limit of {dtype} is 0, where honest machines would be accused; {_EXPECTED}")
    for dtype, text in bands.texts.items():
        if not text.band.clip < text.band.start:
            raise InvalidInputError(f"clip of {dtype} is {text.band.clip}, and start {text.band.start}; {_EXPECTED}")


@cache
def _adapter() -> TypeAdapter[Any]:
    return TypeAdapter(AuditBands)


@cache
def installed() -> Mapping[str, str]:
    """Return the versions of the packages that are installed here, without their build."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name).partition("+")[0]
        except PackageNotFoundError:
            continue
    return found


@cache
def shipped_bands() -> AuditBands:
    """Return the bands that this package carries."""
    data = files("crynux_validate.audits").joinpath("bands.json").read_bytes()
    return AuditBands.from_dict(parse_json(data, "the file of bands", MAX_BYTES))


def bands_or_shipped(bands: AuditBands | None) -> AuditBands:
    """Return the bands that a caller gave, or those of the package."""
    check_type(bands, (AuditBands, type(None)), "bands", "AuditBands, or None for those of this package")
    return shipped_bands() if bands is None else bands
