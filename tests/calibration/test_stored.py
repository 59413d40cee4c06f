"""A calibration as JSON: what is written is read again, and what does not fit together is refused."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import crynux_validate as cv
from crynux_validate.calibration.rates import BY
from tests.calibration.worlds import world

pytest.importorskip("scipy")

SCHEMA = json.loads((Path(cv.__file__).parent / "calibration" / "calibration.schema.json").read_text("utf-8"))


@pytest.fixture(scope="module")
def made() -> cv.Calibration:
    return cv.calibrate(world(1, 10), groups=50)


@pytest.fixture(scope="module")
def enough() -> cv.Calibration:
    return cv.calibrate(world(2, 10), groups=50, false_reject_rate=0.9, false_slash_rate=0.9)


def test_what_is_saved_is_loaded(made: cv.Calibration, enough: cv.Calibration, tmp_path: Path) -> None:
    for one in (made, enough):
        path = tmp_path / "calibration.json"
        one.save(path)
        again = cv.Calibration.load(path)
        assert again == one
        assert str(again) == str(one)
        jsonschema.validate(json.loads(path.read_text("utf-8")), SCHEMA)


def test_the_schema_asks_for_every_field(made: cv.Calibration) -> None:
    value = made.to_dict()
    assert set(SCHEMA["required"]) == set(SCHEMA["properties"]) == set(value)
    assert len(BY) - 1 == SCHEMA["$defs"]["curve"]["properties"]["by"]["items"]["maximum"]
    for name in value:
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({key: one for key, one in value.items() if key != name}, SCHEMA)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(value | {"more": 1}, SCHEMA)


Change = Callable[[dict[str, Any]], None]


def put(*path: Any) -> Change:
    """Set the value at a path, which is the last one given."""
    *keys, last, new = path

    def change(value: dict[str, Any]) -> None:
        for key in keys:
            value = value[key]
        value[last] = new

    return change


def renamed(name: str) -> Change:
    """Give a cheat another name, everywhere."""

    def change(value: dict[str, Any]) -> None:
        for where in ("groups", "pairs", "pictures"):
            value[where][name] = value[where].pop("grey")

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (put("schema", "calibration/2"), "schema is 'calibration/2'; expected 'calibration/1'"),
        (lambda value: value.pop("schema"), "schema is None"),
        (lambda value: value.pop("kinds"), "lacks the field kinds"),
        (put("more", 1), "unknown field more"),
        (put("recommendation", "more", 1), "unknown field recommendation.more"),
        (put("groups", "grey", "passing", "more", 1), "unknown field groups.grey.passing.more"),
        (put("left_out", 0, "more", 1), "unknown field left_out.0.more"),
        (put("versions", "scipy", b"1"), "versions.scipy is b"),
        (put("algorithm", "phash/2"), "algorithm is 'phash/2'"),
        (put("images", 0), "images is 0"),
        (put("group_size", 4), "group_size is 4"),
        (put("safety_checker", 1), "safety_checker is 1"),
        (put("confidence", 2.0), "confidence is 2.0"),
        (put("false_slash_rate", "0.1"), "false_slash_rate is '0.1'"),
        (put("kinds", "ab"), "kinds is 'ab'"),
        (put("kinds", [1]), "kinds.0 is 1"),
        (put("merged", {"a": "b"}), "merged.a is 'b'"),
        (put("versions", {"a": 1}), "versions.a is 1"),
        (put("pictures", {"honest": 0}), "pictures.honest is 0"),
        (put("thresholds", [2, 3]), "thresholds are"),
        (put("thresholds", []), "thresholds are"),
        (put("thresholds", [1, 1]), "thresholds are"),
        (put("thresholds", 0, True), "thresholds.0 is True"),
        (lambda value: value["groups"].pop("honest"), "the roles that have pictures"),
        (lambda value: value["groups"].update(nobody=value["groups"]["grey"]), "roles that have pictures"),
        (lambda value: value["groups"]["honest"].pop("slash"), "lacks the field groups.honest.slash"),
        (put("groups", "honest", "passing", "rate", [0.1]), "rate has 1 values; expected"),
        (put("groups", "grey", "passing", "high", 0, 0.0), "high above 0"),
        (put("groups", "grey", "passing", "high", 0, 1.5), "grey.passing.high.0 is 1.5"),
        (put("groups", "grey", "passing", "low", 0, "0"), "grey.passing.low.0 is '0'"),
        (put("groups", "grey", "passing", "n", 0), "n is 0"),
        (put("groups", "grey", "passing", "by", 0, len(BY)), "by.0 is 7"),
        (put("left_out", 0, "role", 5), "role is 5; input should be a valid string"),
        (put("left_out", 0, "margin", -1), "margin is -1"),
        (put("left_out", 0, "pairs", -1), "pairs is -1"),
        (put("left_out", 0, "events", []), "events has 0 values"),
        (put("recommendation", {"threshold": 0, "slash_threshold": 24}), "recommendation.threshold is 0"),
        (put("recommendation", {"threshold": 16, "slash_threshold": 24}), "does not follow from its rates"),
        (put("recommendation", {"what": "luck", "pictures": 1, "needed": 1}), "what is 'luck'"),
        (put("recommendation", {}), "lacks the field recommendation.threshold"),
        (put("seed", None), "seed is None"),
        (put("confidence", 0.01), "confidence is 0.01"),
        (put("kinds", ["kind-0"]), "kinds is"),
        (put("kinds", ["kind-0", "kind-0"]), "kinds is"),
        (put("models", []), "models is"),
        (put("warnings", ["\x1b]0;title\x07"]), "printable"),
        (put("kinds", ["a\nb", "c"]), "printable"),
        (lambda value: value["groups"].pop("grey"), "the roles that have pictures"),
        (lambda value: value["pairs"].pop("grey"), "the roles that have pictures"),
        (put("groups", "grey", "passing", "n", 10_000), "there are 10 pictures"),
        (renamed("$\\frac{$"), "the name of a cheat"),
        (renamed("<script>"), "the name of a cheat"),
    ],
)
def test_what_does_not_fit_is_refused(made: cv.Calibration, change: Change, said: str) -> None:
    value = copy.deepcopy(made.to_dict())
    change(value)
    with pytest.raises(cv.errors.InvalidInputError, match=said):
        cv.Calibration.from_dict(value)


def test_rates_that_were_made_better_are_found(enough: cv.Calibration) -> None:
    """A lower recommendation than the rates allow, or rates that were lowered without it."""
    value = copy.deepcopy(enough.to_dict())
    value["recommendation"]["threshold"] -= 1
    with pytest.raises(cv.errors.InvalidInputError, match="does not follow from its rates"):
        cv.Calibration.from_dict(value)


@pytest.mark.parametrize("where", ["groups", "pairs"])
@pytest.mark.parametrize("role", ["honest", "grey", "unrelated"])
@pytest.mark.parametrize("name", ["passing", "slash"])
def test_nothing_of_n_is_never_nothing(enough: cv.Calibration, where: str, role: str, name: str) -> None:
    """The ends of intervals at 0 and 1 are no closer than n pictures can tell."""
    value = copy.deepcopy(enough.to_dict())
    curve = value[where][role][name]
    if name == "slash" and role != "honest":
        curve["high"][0] = curve["rate"][0] = 1.0
        curve["low"][0] = 1 - 1e-9
    else:
        curve["low"][-1] = curve["rate"][-1] = 0.0
        curve["high"][-1] = 1e-9
    with pytest.raises(cv.errors.InvalidInputError, match=f"{where}.{role}.{name} has the bound"):
        cv.Calibration.from_dict(value)


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff", b'{"schema": NaN}', b'{"schema": "calibration/1"}'])
def test_files_that_are_no_calibration(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "calibration.json"
    path.write_bytes(content)
    said = "calibration.json' is .*expected a file that" if content in (b"", b"{", b"\xff") else "calibration"
    with pytest.raises(cv.errors.InvalidInputError, match=said):
        cv.Calibration.load(path)


def test_files_that_cannot_be_read_or_written(made: cv.Calibration, tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none", "a\0b"):
        with pytest.raises(cv.errors.InvalidInputError, match="cannot read"):
            cv.Calibration.load(path)
    with pytest.raises(cv.errors.InvalidInputError, match="cannot write"):
        made.save(tmp_path / "none" / "calibration.json")


def test_it_says_where_it_does_not_fit(made: cv.Calibration) -> None:
    made.check_fits(algorithm="phash/1", group_size=3, images=1)
    for name, value in {"algorithm": "phash-go/1", "group_size": 5, "images": 2}.items():
        with pytest.raises(cv.errors.InvalidInputError, match=f"was made with {name} "):
            made.check_fits(**{name: value})  # type: ignore[arg-type]


def test_thresholds_that_are_none(made: cv.Calibration) -> None:
    for thresholds in ((0, None), (65, None), (16, 15), (16, 65), ("16", None), (True, None)):
        with pytest.raises(cv.errors.InvalidInputError):
            made.rates(*thresholds)


def test_it_prints_as_a_table(made: cv.Calibration) -> None:
    text = str(made)
    assert "honest, one not paid" in text
    assert "grey accepted" in text
    assert "not enough data" in text
    for warning in made.warnings:
        assert warning in text
    assert repr(made).startswith("<Calibration phash/1, groups of 3, 10 pictures, 4 kinds")
