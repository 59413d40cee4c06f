"""The document of threats names every attack, and tests that exist."""

import ast
import importlib.util
import re
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[1]
TEXT: Final = (ROOT / "docs" / "threats.md").read_text("utf-8")
NAMED: Final = sorted(set(re.findall(r"`([\w/]+\.py)::(test_\w+)`", TEXT)))


def defined(file: Path) -> set[str]:
    """The functions of a file, and those of its classes."""
    return {node.name for node in ast.walk(ast.parse(file.read_text("utf-8"))) if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize(("file", "name"), NAMED)
def test_each_test_that_is_named_exists(file: str, name: str) -> None:
    folder = ROOT / ("src/crynux_validate/testing" if file.startswith("conformance/") else "tests")
    assert name in defined(folder / file)


def test_every_row_of_the_protocol_names_a_test() -> None:
    (table,) = re.findall(r"\| attack \| what happens \| tests \|\n(.*?)\n\n", TEXT, re.DOTALL)
    rows = table.splitlines()[1:]
    assert len(rows) >= 25
    assert len(NAMED) >= len(rows)
    assert [row for row in rows if "::test_" not in row.split("|")[3]] == []


def test_every_attack_has_a_row_and_a_word() -> None:
    if not all(map(importlib.util.find_spec, ("torch", "diffusers", "transformers"))):
        pytest.skip("needs the extra 'image'")
    from attacks import ATTACKS, BAD_FAITH

    for attack in {**ATTACKS, **BAD_FAITH}.values():
        assert f"**{attack.words}**" in TEXT
    rows = {line.split("|")[1].strip() for line in TEXT.splitlines() if line.startswith("| ")}
    assert {attack.words for attack in ATTACKS.values()} - {"enlarged from 128"} <= rows
