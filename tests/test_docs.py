"""Every Python block of the documentation runs, and every example.

The blocks of one document are one program, run in order in an empty folder. ``<!-- no-run -->`` on the line before a
block skips it; blocks in other languages are not run.
"""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from tools.doc_programs import NO_RUN, installs, program_of
from tools.make_command_docs import PAGE as OPTIONS
from tools.make_command_docs import written as options_written
from tools.make_policy_docs import written as policy_written

from crynux_validate import errors

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))

LONG = (
    "docs/audits.md",
    "docs/determinism.md",
    "docs/image-parts.md",
    "docs/tutorials/run-a-node.md",
    "docs/tutorials/test-your-project.md",
    "docs/tutorials/text-groups.md",
    "examples/audit_to_group.py",
)
"""What draws or writes for a while: several processes with models, or the arithmetic of cards."""

_LINK = re.compile(r"\]\(([^)#\s]*)(?:#([^)\s]*))?\)")


def _runs(paths: list[Path]) -> list[Any]:
    """The programs of a folder as parameters of a test."""
    names = [path.relative_to(ROOT).as_posix() for path in paths]
    marks = [(pytest.mark.long,) if name in LONG else () for name in names]
    return [pytest.param(path, id=name, marks=mark) for path, name, mark in zip(paths, names, marks, strict=True)]


def run(program: Path, folder: Path) -> None:
    """Run a program in an empty folder, without a download; one that defines tests with pytest."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    tests = ["-m", "pytest", "-q", "-p", "no:cacheprovider"] if "\ndef test_" in program.read_text("utf-8") else []
    done = subprocess.run(
        [sys.executable, *tests, str(program)], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{program.name} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"


@pytest.mark.parametrize("document", _runs(DOCUMENTS))
def test_document(document: Path, tmp_path: Path) -> None:
    program = program_of(document.read_text("utf-8"))
    if not program.strip():
        assert document.name != "README.md", "the README shows no code"
        return
    script = tmp_path / f"{document.stem.replace('-', '_')}_blocks.py"
    script.write_text(program, "utf-8")
    folder = tmp_path / "empty"
    folder.mkdir()
    run(script, folder)


@pytest.mark.parametrize("example", _runs(EXAMPLES))
def test_example(example: Path, tmp_path: Path) -> None:
    if "import ray" in example.read_text("utf-8"):
        pytest.importorskip("ray", reason="ray is not installed: `make soak` runs this in an environment with it")
    run(example, tmp_path)


def test_what_is_long_is_there() -> None:
    assert all((ROOT / name).exists() for name in LONG)


def anchors(document: Path) -> set[str]:
    """The anchors of a document: those that it names, and those of its headings, as GitHub makes them."""
    text = document.read_text("utf-8")
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return set(re.findall(r"<a id=\"([^\"]+)\">", text)) | {
        re.sub(r"[^\w\- ]", "", heading).lower().replace(" ", "-") for heading in headings
    }


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    for target, anchor in _LINK.findall(document.read_text("utf-8")):
        if target.startswith(("http:", "https:", "mailto:")):
            continue
        path = (document.parent / target).resolve() if target else document
        assert path.exists(), f"{document.name} links to {target}, which is not there"
        assert not anchor or anchor in anchors(path), f"{document.name} links to {target}#{anchor}, which is no heading"


def test_every_document_can_be_found() -> None:
    indices = [ROOT / "docs" / "README.md", ROOT / "docs" / "measurements.md"]
    linked = {
        (index.parent / target).resolve() for index in indices for target, _ in _LINK.findall(index.read_text("utf-8"))
    }
    pages = {path for path in DOCUMENTS if path.parent.name not in ("decisions", "api")} - {indices[0], DOCUMENTS[0]}
    assert not pages - linked, "pages that neither docs/README.md nor docs/measurements.md links to"


def test_the_parts_are_those_that_there_are() -> None:
    tree = (ROOT / "docs" / "architecture.md").read_text("utf-8").partition("crynux_validate/\n")[2].partition("```")[0]
    rooms = {
        "": re.findall(r"^[├└]── (\S+)", tree, re.MULTILINE),
        "pipelines": re.findall(r"^│ +[├└]── (\S+)", tree, re.MULTILINE),
    }
    for room, told in rooms.items():
        there = sorted((ROOT / "src" / "crynux_validate" / room).iterdir())
        wanted = {f"{path.name}/" for path in there if path.is_dir() and not path.name.startswith("__")}
        wanted |= (
            {path.name for path in there if path.suffix == ".py" and not path.name.startswith("__")}
            if not room
            else set()
        )
        assert set(told) == wanted, f"docs/architecture.md and src/crynux_validate/{room}"


def test_the_options_are_those_that_there_are() -> None:
    assert OPTIONS.read_text("utf-8") == options_written(), "python -m tools.make_command_docs"


def test_policies_and_schedulers_are_as_told() -> None:
    for path, text in policy_written().items():
        assert path.read_text("utf-8") == text, "python -m tools.make_policy_docs"


def test_every_error_has_a_line() -> None:
    wanted = {name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, Exception)}
    page = (ROOT / "docs" / "errors.md").read_text("utf-8")
    told = re.findall(r"^\| `(\w+)` \|", page.partition("| error | fields |")[0], re.MULTILINE)
    assert set(told) == wanted - {"CrynuxValidateError", "LedgerError"}
    assert len(told) == len(set(told))


def test_what_matters_is_what_was_measured() -> None:
    """Each number of the first page of measurements stands on a page that its paragraph links to."""
    page = ROOT / "docs" / "measurements.md"
    told = page.read_text("utf-8").partition("## What matters")[2].partition("\n## ")[0]
    found = 0
    for paragraph in told.split("\n- ")[1:]:
        linked = [(page.parent / target).resolve() for target, _ in _LINK.findall(paragraph) if target.endswith(".md")]
        tables = "".join(path.read_text("utf-8") for path in linked).replace(",", "")
        for number in re.findall(r"\d[\d.,]*\d%?", re.sub(r"float\d+|\]\([^)]*\)", "", paragraph)):
            assert re.search(rf"(?<![\d.]){re.escape(number.replace(',', '').strip('%'))}(?![\d])", tables), number
            found += 1
    assert found >= 9


def test_blocks_keep_their_lines() -> None:
    document = "\n".join(
        [
            "text", "```python", "x = 1", "", "y = 2", "```", "```bash", "false", "```", NO_RUN, "", "```python",
            "1 / 0", "```", "- item", "  ```py", "  if x:", "      z = 3", "  ```", "~~~python", "w = '```'", "~~~",
        ]
    )  # fmt: skip
    lines = program_of(document).splitlines()
    assert len(lines) == document.count("\n") + 1
    assert {number: line for number, line in enumerate(lines, 1) if line} == {
        3: "x = 1", 5: "y = 2", 17: "if x:", 18: "    z = 3", 21: "w = '```'",
    }  # fmt: skip


@pytest.mark.parametrize("page", sorted((ROOT / "docs" / "tutorials").glob("*.md")), ids=lambda path: path.name)
def test_a_tutorial_says_what_to_install(page: Path) -> None:
    extras, _ = installs(page.read_text("utf-8"))
    known = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    assert set(extras.strip("[]").split(",")) <= set(known)


def test_a_page_that_installs_nothing() -> None:
    assert installs("pip install 'crynux-validate[a,b]' other # why") == ("[a,b]", ["other"])
    with pytest.raises(ValueError, match="no line"):
        installs("pip install something")


def test_a_block_that_fails_is_a_failure(tmp_path: Path) -> None:
    script = tmp_path / "bad.py"
    script.write_text(program_of("```python\nx = 1\n```\n\n```python\nassert x == 2\n```\n"), "utf-8")
    with pytest.raises(AssertionError, match=r'bad\.py", line 6'):
        run(script, tmp_path)
