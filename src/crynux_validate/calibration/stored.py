"""A calibration as JSON, and back. `calibration.schema.json` describes the form."""

import json
import math
from collections.abc import Iterator, Mapping
from functools import cache
from itertools import pairwise
from os import PathLike
from typing import Any, Final, NoReturn

from pydantic import TypeAdapter, ValidationError

from crynux_validate.calibration.rates import Curve, slash_place
from crynux_validate.calibration.recommendation import NotEnough, Recommendation, lowest
from crynux_validate.calibration.result import Calibration
from crynux_validate.encoding import parse_json, shorten, shorten_name
from crynux_validate.errors import InvalidInputError
from crynux_validate.files import read_limited, write_or_refuse

SCHEMA: Final = "calibration/1"
"""The form; a change of it is a new number."""

MAX_BYTES: Final = 64 * 2**20
_EXPECTED: Final = "expected a file that crynux-validate calibrate --out or Calibration.save wrote"


def to_dict(calibration: Calibration) -> dict[str, Any]:
    """See `Calibration.to_dict`."""
    return {"schema": SCHEMA, **_adapter(Calibration).dump_python(calibration, mode="json", warnings=False)}


def from_dict(value: object) -> Calibration:
    """See `Calibration.from_dict`."""
    if not isinstance(value, Mapping):
        raise InvalidInputError(f"the calibration is {shorten(value)}; expected an object")
    fields = dict(value)
    schema = fields.pop("schema", None)
    if schema != SCHEMA:
        raise InvalidInputError(
            f"the calibration's schema is {shorten(schema)}; expected {SCHEMA!r}: calibrate again with this version"
        )
    found = fields.get("recommendation")
    if isinstance(found, Mapping):
        kind = NotEnough if "what" in found else Recommendation
        fields["recommendation"] = _read(kind, found, "recommendation")
    calibration: Calibration = _read(Calibration, fields)
    _check_roles(calibration)
    for what, curve, length, pictures, lower in _curves(calibration):
        _check_curve(curve, what, length, pictures)
        _check_bounds(curve, what, calibration.confidence, lower=lower)
    for at, one in enumerate(calibration.left_out):
        for name in ("events", "excluded_events"):
            _check_length(getattr(one, name), f"left_out.{at}.{name}", len(calibration.thresholds))
    _check_recommendation(calibration)
    return calibration


def save(calibration: Calibration, path: str | PathLike[str]) -> None:
    """See `Calibration.save`."""
    content = json.dumps(to_dict(calibration), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    write_or_refuse(path, content.encode())


def load(path: str | PathLike[str]) -> Calibration:
    """See `Calibration.load`."""
    try:
        value = parse_json(read_limited(path, MAX_BYTES), f"the calibration {str(path)!r:.300}", MAX_BYTES)
    except InvalidInputError as error:
        raise InvalidInputError(f"{error}; {_EXPECTED}") from error
    return from_dict(value)


@cache
def _adapter(kind: type) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def _read(kind: type, value: Mapping[str, Any], *where: str) -> Any:
    """Read a dataclass by the types of its fields."""
    try:
        return _adapter(kind).validate_python(value)
    except ValidationError as error:
        _refuse(error, where)


def _refuse(error: ValidationError, where: tuple[str, ...]) -> NoReturn:
    """Turn pydantic's first complaint into ours."""
    first = error.errors(include_url=False, include_context=False)[0]
    place = shorten_name(".".join(str(part) for part in (*where, *first["loc"]) if part != "[key]"))
    if first["type"] in ("missing", "unexpected_keyword_argument"):
        what = "lacks the" if first["type"] == "missing" else "has the unknown"
        raise InvalidInputError(f"the calibration {what} field {place}; {_EXPECTED}") from error
    message = first["msg"].removeprefix("Value error, ")
    message = f"{message[:1].lower()}{message[1:]}"
    raise InvalidInputError(f"the calibration's {place} is {shorten(first['input'])}; {message}") from error


def _check_roles(calibration: Calibration) -> None:
    """Refuse roles that no sample has, and fewer machines than can be compared."""
    roles = set(calibration.pictures)
    if "honest" not in roles:
        raise InvalidInputError(f"pictures has {shorten(sorted(roles))}; expected honest, and cheats")
    for name, found in (("groups", calibration.groups), ("pairs", calibration.pairs)):
        if set(found) != roles:
            raise InvalidInputError(
                f"{name} has {shorten(sorted(found))}; expected the roles that have pictures ({shorten(sorted(roles))})"
            )
    for name, names, least in (("kinds", calibration.kinds, 2), ("models", calibration.models, 1)):
        if len(set(names)) < max(least, len(names)):
            raise InvalidInputError(f"{name} is {shorten(names)}; expected at least {least}, each once")
    thresholds = calibration.thresholds
    if thresholds[:1] != (1,) or any(a >= b for a, b in pairwise(thresholds)):
        raise InvalidInputError(f"thresholds are {shorten(thresholds)}; expected ascending integers from 1")


def _curves(calibration: Calibration) -> Iterator[tuple[str, Curve, int, int | None, bool]]:
    """Yield each curve with its name, its length, the most pictures that it can rest on, and which bound decides."""
    count = len(calibration.thresholds)
    for what, roles, slashes in (
        ("groups", calibration.groups, slash_place(count, count, count)),
        ("pairs", calibration.pairs, count),
    ):
        for role, curves in roles.items():
            pictures = None if role == "unrelated" else calibration.pictures[role]
            yield f"{what}.{role}.passing", curves.passing, count, pictures, False
            # of cheats, the curve of slashes is chosen by its lower ends
            yield f"{what}.{role}.slash", curves.slash, slashes, pictures, role != "honest"


def _check_length(values: tuple[Any, ...], what: str, length: int) -> None:
    if len(values) != length:
        raise InvalidInputError(f"{what} has {len(values)} values; expected {length}")


def _check_curve(curve: Curve, what: str, length: int, pictures: int | None) -> None:
    for name in ("rate", "low", "high", "by"):
        _check_length(getattr(curve, name), f"{what}.{name}", length)
    for at, (low, rate, high) in enumerate(zip(curve.low, curve.rate, curve.high, strict=True)):
        if not low <= rate <= high or high == 0:
            raise InvalidInputError(
                f"{what} has the bounds {low} and {high} of the rate {rate} at {at}; expected low <= rate <= high, and"
                " high above 0"
            )
    if pictures is not None and curve.n > pictures:
        raise InvalidInputError(f"{what}.n is {curve.n}, and there are {pictures} pictures; expected no more")


def _check_bounds(curve: Curve, what: str, confidence: float, *, lower: bool) -> None:
    """Refuse bounds that are closer than those of so many pictures can be: 0 of n is never 0."""
    least = -math.expm1(math.log((1 - confidence) / 2) / curve.n) * (1 - 1e-9)
    bound = max(curve.low) if lower else min(curve.high)
    if (1 - bound if lower else bound) < least:
        raise InvalidInputError(
            f"{what} has the bound {bound:.6g}, which no {curve.n} pictures give with confidence {confidence};"
            " calibrate again"
        )


def _check_recommendation(calibration: Calibration) -> None:
    """Compute the recommendation again from the rates that stand beside it."""
    found = calibration.recommendation
    threshold, slash_threshold = lowest(
        calibration.groups["honest"],
        calibration.thresholds,
        calibration.false_reject_rate,
        calibration.false_slash_rate,
    )
    right = None if threshold is None or slash_threshold is None else Recommendation(threshold, slash_threshold)
    if right != (found if isinstance(found, Recommendation) else None):
        raise InvalidInputError(
            f"the calibration says {shorten(str(found))}, which does not follow from its rates"
            f" ({right or 'no threshold does'}); calibrate again"
        )
