"""All files of vectors: their schema, their ids, and the tool that writes them."""

import json
from importlib.resources import files
from typing import Any

import jsonschema
import pytest
from tools.make_vectors import MAKERS, written

from crynux_validate.vectors_check import FILES, check_vector, load_vectors


def schema() -> Any:
    return json.loads((files("crynux_validate") / "vectors" / "schema.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", FILES.values())
def test_the_files_have_their_schema(name: str) -> None:
    jsonschema.Draft202012Validator.check_schema(schema())
    value = json.loads(files("crynux_validate").joinpath("vectors", *name.split("/")).read_text(encoding="utf-8"))
    validator = jsonschema.Draft202012Validator(schema())
    validator.validate(value)
    first = value["vectors"][0]
    assert validator.is_valid({**value, "vectors": [first]})
    for broken in (
        {**first, "extra": 1},
        {key: first[key] for key in list(first)[1:]},
        {**first, next(iter(first)): 7},
    ):
        assert not validator.is_valid({**value, "vectors": [first, broken]}), "the schema allows anything"
    assert not validator.is_valid({**value, "schema": "crynux-validate/vectors/0", "vectors": [first]})


def test_every_file_of_vectors_is_known() -> None:
    folder = files("crynux_validate") / "vectors"
    shipped = {item.name for item in folder.iterdir() if item.name.endswith(".json")} - {"schema.json"}
    assert shipped | {"phash/vectors.json"} == set(FILES.values())


def test_every_vector_holds_and_names_its_kind_and_reason() -> None:
    vectors = load_vectors()
    assert {vector.kind for vector in vectors} == set(FILES)
    assert len({vector.id for vector in vectors}) == len(vectors)
    for vector in vectors:
        assert vector.reason
        if vector.kind != "phash":  # those are checked one by one in tests/hashing
            assert check_vector(vector) is None, vector.id


def test_the_tool_knows_every_file() -> None:
    assert {f"{name}.json" for name in MAKERS} == set(FILES.values()) - {"phash/vectors.json"}


@pytest.mark.parametrize("name", sorted(set(MAKERS) - {"events"}))
def test_the_tool_makes_what_is_shipped(name: str) -> None:
    """Except logs, which show a ledger's policy: what it holds later does not make an older log wrong."""
    text = (files("crynux_validate") / "vectors" / f"{name}.json").read_text(encoding="utf-8")
    assert written(MAKERS[name]()) == text
