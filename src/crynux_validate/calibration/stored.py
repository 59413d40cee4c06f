"""A calibration as JSON, and back. `calibration.schema.json` describes the form."""

import json
from collections.abc import Mapping
from itertools import pairwise
from os import PathLike
from pathlib import Path
from typing import Any, Final

from crynux_validate.algorithms import HASH_BITS, IMAGE_ALGORITHMS
from crynux_validate.calibration.recommendation import NotEnough, Recommendation, lowest
from crynux_validate.calibration.result import BY, Calibration, Curve, Curves, Excluded, slash_place
from crynux_validate.encoding import check_flag, check_integer, parse_json, shorten
from crynux_validate.errors import InvalidInputError
from crynux_validate.files import write_whole
from crynux_validate.judging import GROUP_SIZES
from crynux_validate.tasks import MAX_IMAGES

SCHEMA: Final = "calibration/1"
"""The form; a change of it is a new number."""

MAX_BYTES: Final = 64 * 2**20
MAX_NAMES: Final = 10_000
_EXPECTED: Final = "expected a file that crynux-validate calibrate --out or Calibration.save wrote"


def to_dict(calibration: Calibration) -> dict[str, Any]:
    """See `Calibration.to_dict`."""
    return {
        "schema": SCHEMA,
        "algorithm": calibration.algorithm,
        "images": calibration.images,
        "group_size": calibration.group_size,
        "safety_checker": calibration.safety_checker,
        "confidence": calibration.confidence,
        "false_reject_rate": calibration.false_reject_rate,
        "false_slash_rate": calibration.false_slash_rate,
        "models": list(calibration.models),
        "kinds": list(calibration.kinds),
        "merged": {name: list(others) for name, others in calibration.merged.items()},
        "pictures": dict(calibration.pictures),
        "thresholds": list(calibration.thresholds),
        "groups": {name: _curves_to_dict(one) for name, one in calibration.groups.items()},
        "pairs": {name: _curves_to_dict(one) for name, one in calibration.pairs.items()},
        "left_out": [_listed(vars(one)) for one in calibration.left_out],
        "recommendation": vars(calibration.recommendation).copy(),
        "warnings": list(calibration.warnings),
        "versions": dict(calibration.versions),
        "seed": calibration.seed,
    }


def from_dict(value: object) -> Calibration:
    """See `Calibration.from_dict`."""
    fields = _object(value, "the calibration")
    schema = fields.pop("schema", None)
    if schema != SCHEMA:
        raise InvalidInputError(
            f"the calibration's schema is {shorten(schema)}; expected {SCHEMA!r}: calibrate again with this version"
        )
    _same(fields, Calibration.__dataclass_fields__, "the calibration")
    if fields["algorithm"] not in IMAGE_ALGORITHMS:
        raise InvalidInputError(f"algorithm is {shorten(fields['algorithm'])}; expected one of {IMAGE_ALGORITHMS}")
    check_integer(fields["images"], "images", 1, MAX_IMAGES)
    if type(fields["group_size"]) is not int or fields["group_size"] not in GROUP_SIZES:
        raise InvalidInputError(f"group_size is {shorten(fields['group_size'])}; expected one of {GROUP_SIZES}")
    check_flag(fields["safety_checker"], "safety_checker")
    for name in ("confidence", "false_reject_rate", "false_slash_rate"):
        if not isinstance(fields[name], float) or not 0 < fields[name] < 1:
            raise InvalidInputError(f"{name} is {shorten(fields[name])}; expected a number above 0 and below 1")
    check_integer(fields["seed"], "seed")
    for name in ("models", "kinds", "warnings"):
        fields[name] = _texts(fields[name], name)
    fields["merged"] = {name: _texts(others, "merged") for name, others in _object(fields["merged"], "merged").items()}
    fields["versions"] = _object(fields["versions"], "versions")
    _texts([*fields["versions"].values()], "versions")
    fields["pictures"] = {
        name: check_integer(count, "pictures", 1) for name, count in _object(fields["pictures"], "pictures").items()
    }
    fields["thresholds"] = thresholds = _thresholds(fields["thresholds"])
    count = len(thresholds)
    for name, slashes in (("groups", slash_place(count, count, count)), ("pairs", count)):
        roles = _object(fields[name], name)
        if "honest" not in roles or set(roles) - set(fields["pictures"]):
            raise InvalidInputError(
                f"{name} has {shorten(sorted(roles))}; expected honest, and roles that have pictures"
            )
        fields[name] = {role: _curves(one, f"{name}.{role}", count, slashes) for role, one in roles.items()}
    fields["left_out"] = tuple(
        _excluded(one, f"left_out[{at}]", count) for at, one in enumerate(_list(fields["left_out"], "left_out"))
    )
    fields["recommendation"] = _recommendation(fields["recommendation"])
    calibration = Calibration(**fields)
    _check_recommendation(calibration)
    return calibration


def save(calibration: Calibration, path: str | PathLike[str]) -> None:
    """See `Calibration.save`."""
    content = json.dumps(to_dict(calibration), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    try:
        write_whole(path, content.encode())
    except (OSError, TypeError, ValueError) as error:
        raise InvalidInputError(f"the calibration cannot be written to {shorten(path)}: {error}") from error


def load(path: str | PathLike[str]) -> Calibration:
    """See `Calibration.load`."""
    try:
        with Path(path).open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
    except (OSError, TypeError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InvalidInputError(f"the calibration {str(path)!r:.300} cannot be read: {reason}; {_EXPECTED}") from error
    try:
        value = parse_json(content, f"the calibration {str(path)!r:.300}", MAX_BYTES)
    except InvalidInputError as error:
        raise InvalidInputError(f"{error}; {_EXPECTED}") from error
    return from_dict(value)


def _curves_to_dict(curves: Curves) -> dict[str, Any]:
    return {name: _listed(vars(getattr(curves, name))) for name in ("passing", "slash")}


def _listed(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in fields.items()}


def _object(value: object, what: str) -> dict[str, Any]:
    if not isinstance(value, Mapping) or len(value) > MAX_NAMES or not all(isinstance(name, str) for name in value):
        raise InvalidInputError(f"{what} is {shorten(value)}; expected an object")
    return dict(value)


def _list(value: object, what: str) -> list[Any]:
    if not isinstance(value, list | tuple) or len(value) > MAX_NAMES:
        raise InvalidInputError(f"{what} is {shorten(value)}; expected a list of at most {MAX_NAMES}")
    return list(value)


def _texts(value: object, what: str) -> tuple[str, ...]:
    texts = _list(value, what)
    if not all(isinstance(text, str) for text in texts):
        raise InvalidInputError(f"{what} is {shorten(value)}; expected a list of texts")
    return tuple(texts)


def _same(fields: Mapping[str, Any], wanted: Mapping[str, Any], what: str) -> None:
    for name in [*(set(wanted) - set(fields)), *(set(fields) - set(wanted))]:
        raise InvalidInputError(f"{what} {'lacks' if name in wanted else 'has the unknown'} field {shorten(name)}")


def _thresholds(value: object) -> tuple[int, ...]:
    found = tuple(check_integer(one, "thresholds", 1, HASH_BITS) for one in _list(value, "thresholds"))
    if not found or found[0] != 1 or any(a >= b for a, b in pairwise(found)):
        raise InvalidInputError(f"thresholds are {shorten(found)}; expected ascending integers from 1")
    return found


def _curves(value: object, what: str, passing: int, slash: int) -> Curves:
    fields = _object(value, what)
    _same(fields, Curves.__dataclass_fields__, what)
    return Curves(
        _curve(fields["passing"], f"{what}.passing", passing), _curve(fields["slash"], f"{what}.slash", slash)
    )


def _curve(value: object, what: str, length: int) -> Curve:
    fields = _object(value, what)
    _same(fields, Curve.__dataclass_fields__, what)
    check_integer(fields["n"], f"{what}.n", 1)
    columns = {}
    for name in ("rate", "low", "high", "by"):
        columns[name] = _list(fields[name], f"{what}.{name}")
        if len(columns[name]) != length:
            raise InvalidInputError(f"{what}.{name} has {len(columns[name])} values; expected {length}")
    for at, (low, rate, high) in enumerate(zip(columns["low"], columns["rate"], columns["high"], strict=True)):
        numbers = (low, rate, high)
        if not all(isinstance(one, int | float) and not isinstance(one, bool) for one in numbers) or not (
            0 <= low <= rate <= high <= 1 and high > 0
        ):
            raise InvalidInputError(
                f"{what} has the bounds {shorten(low)} and {shorten(high)} of the rate {shorten(rate)} at {at};"
                " expected 0 <= low <= rate <= high <= 1, and high above 0"
            )
    by = tuple(check_integer(one, f"{what}.by", 0, len(BY) - 1) for one in columns["by"])
    low, rate, high = (tuple(float(one) for one in columns[name]) for name in ("low", "rate", "high"))
    return Curve(fields["n"], rate, low, high, by)


def _excluded(value: object, what: str, length: int) -> Excluded:
    fields = _object(value, what)
    _same(fields, Excluded.__dataclass_fields__, what)
    _texts([fields["role"], fields["rule"]], what)
    margin = fields["margin"]
    if margin is not None and not (isinstance(margin, float | int) and not isinstance(margin, bool) and margin >= 0):
        raise InvalidInputError(f"{what}.margin is {shorten(margin)}; expected a number of at least 0, or null")
    for name in ("pairs", "excluded"):
        check_integer(fields[name], f"{what}.{name}")
    for name in ("events", "excluded_events"):
        counts = _list(fields[name], f"{what}.{name}")
        if len(counts) != length:
            raise InvalidInputError(f"{what}.{name} has {len(counts)} values; expected {length}")
        fields[name] = tuple(check_integer(one, f"{what}.{name}") for one in counts)
    return Excluded(**fields)


def _recommendation(value: object) -> Recommendation | NotEnough:
    fields = _object(value, "recommendation")
    if "what" in fields:
        _same(fields, NotEnough.__dataclass_fields__, "recommendation")
        if fields["what"] not in ("false_reject_rate", "false_slash_rate"):
            raise InvalidInputError(f"recommendation.what is {shorten(fields['what'])}; expected the name of a rate")
        check_integer(fields["pictures"], "recommendation.pictures", 1)
        if fields["needed"] is not None:
            check_integer(fields["needed"], "recommendation.needed", 1)
        return NotEnough(**fields)
    _same(fields, Recommendation.__dataclass_fields__, "recommendation")
    for name in fields:
        check_integer(fields[name], f"recommendation.{name}", 1, HASH_BITS)
    return Recommendation(**fields)


def _check_recommendation(calibration: Calibration) -> None:
    """Compute the recommendation again from the rates that stand beside it."""
    honest, found = calibration.groups["honest"], calibration.recommendation
    threshold = lowest(lambda at: honest.passing.at(calibration.place(at)), calibration.false_reject_rate)
    slash = None
    if threshold is not None:
        at = calibration.place(threshold)
        slash = lowest(
            lambda to: honest.slash.at(slash_place(len(calibration.thresholds), at, calibration.place(to))),
            calibration.false_slash_rate,
            threshold,
        )
    right = None if threshold is None or slash is None else Recommendation(threshold, slash)
    if right != (found if isinstance(found, Recommendation) else None):
        raise InvalidInputError(
            f"the calibration says {shorten(str(found))}, which does not follow from its rates"
            f" ({right or 'no threshold does'}); calibrate again"
        )
