"""``docs/exit-codes.md`` names every environment variable that the library reads or sets, and every exit code."""

import re
from pathlib import Path

import pytest

from crynux_validate.cli import program

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "exit-codes.md").read_text("utf-8")
ROWS = dict(re.findall(r"^\| `?(\w+)`? \| `?([^|`]*)`? \|", PAGE, re.MULTILINE))


def read_by(source: str) -> set[str]:
    """The variables that a source file reads from its environment, by name or by a constant of the file."""
    found = set()
    for quote, name in re.findall(r"\benviron(?:\.get\(|\[)(\"?)(\w+)", source):
        constant = re.search(rf'^{name}: Final = "(\w+)"', source, re.MULTILINE)
        if quote or constant:
            found.add(name if quote else constant[1])  # type: ignore[index]  # one of the two
    return found


def test_every_variable_that_is_read_is_told() -> None:
    found = set()
    for path in (ROOT / "src").rglob("*.py"):
        found |= read_by(path.read_text("utf-8"))
    assert {"CRYNUX_VALIDATE_TRACEBACK", "CRYNUX_VALIDATE_DIGEST_CACHE", "HF_HOME"} <= found, "the search finds them"
    assert {name for name in found if f"`{name}`" not in PAGE} == set()


def test_every_variable_of_the_guard_is_told_with_its_value() -> None:
    pytest.importorskip("torch")
    from crynux_validate.pipelines.guard.process import VARIABLES

    assert {variable.name: ROWS.get(variable.name) for variable in VARIABLES} == {
        variable.name: variable.wanted for variable in VARIABLES
    }


def test_every_exit_code_is_told() -> None:
    codes = {program.EXIT_DONE, program.EXIT_DISAGREES, program.EXIT_BAD_INPUT, 129, 130, 143}
    assert {int(name) for name in ROWS if name.isdigit()} == codes
