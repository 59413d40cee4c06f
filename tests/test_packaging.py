"""The public names, and what the wheel holds."""

import ast
import importlib
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections import Counter
from importlib import metadata
from pathlib import Path
from types import ModuleType

import pytest

import crynux_validate

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "crynux_validate"


PUBLIC = {name: importlib.import_module(name) for name in ("crynux_validate", *(
    f"crynux_validate.{module}" for module in crynux_validate._MODULES
))}  # fmt: skip
"""The front door, and the public modules."""


@pytest.mark.parametrize("module", PUBLIC.values(), ids=PUBLIC)
def test_every_public_name_resolves(module: ModuleType) -> None:
    names = module.__all__
    assert len(set(names)) == len(names)
    for name in names:
        assert getattr(module, name) is not None
    assert set(names) <= set(dir(module))


def test_every_public_name_has_one_place() -> None:
    """A name of the front door is public there alone, and no two modules have the same name."""
    places = Counter(name for module in PUBLIC.values() for name in module.__all__)
    assert [name for name, times in places.items() if times > 1] == []


def test_the_front_door_is_small() -> None:
    assert len(crynux_validate.__all__) <= 45, "put it into a public module: docs/architecture.md"


@pytest.mark.parametrize("name", [name for name, module in PUBLIC.items() if hasattr(module, "_MODULE_OF")])
def test_all_is_complete(name: str) -> None:
    """What type checkers see is what ``__all__`` lists, and what is imported when it is first used."""
    module = PUBLIC[name]
    seen: set[str] = set()
    for node in ast.walk(ast.parse(Path(str(module.__file__)).read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("crynux_validate"):
            seen.update(alias.asname or alias.name for alias in node.names)
    assert set(module._MODULE_OF) <= seen
    assert set(module.__all__) | set(module._MODULE_OF) | {"__version__"} <= seen | {"__version__"}
    if name == "crynux_validate":  # the others import names for this library's own use as well
        assert seen == set(module._MODULE_OF)


def test_a_public_module_is_an_attribute() -> None:
    """Without an import of its own, in a process that has imported nothing else."""
    program = "import crynux_validate as cv; cv.judging.Absent; cv.ledger.Status; cv.errors.LedgerError; cv.tables"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_star_import_gives_all() -> None:
    namespace: dict[str, object] = {}
    exec("from crynux_validate import *", namespace)
    assert set(crynux_validate.__all__) <= set(namespace)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = crynux_validate.no_such_name  # type: ignore[attr-defined]
    assert not hasattr(crynux_validate, "no_such_name")


def test_the_version_is_the_installed_one() -> None:
    assert crynux_validate.__version__ == metadata.version("crynux-validate")


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    of_package = {name for name in names if not name.partition("/")[0].endswith(".dist-info")}
    expected = {
        path.relative_to(ROOT / "src").as_posix()
        for path in PACKAGE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert of_package == expected
    assert "crynux_validate/py.typed" in names
    assert "crynux_validate/vectors/phash/vectors.json" in names
    assert sum(name.startswith("crynux_validate/vectors/phash/images/") for name in names) == 172
    assert any(name.endswith("licenses/LICENSE") for name in names)


@pytest.mark.long  # it packs all pictures of the docs
def test_the_sdist_holds_what_builds_and_tests_it(tmp_path: Path) -> None:
    """Whoever has only the sdist can build the wheel and run the tests: it has what git has of these folders."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("not a clone")
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split(
        "\n"
    )
    kept = ("src/", "tests/", "tools/", "benchmarks/", "attacks/", "examples/", "docs/")
    files = ("README.md", "LICENSE", "Makefile", "constraints.txt", "mkdocs.yml", "pyproject.toml", ".ci/run")
    wanted = {name for name in listed if (name.startswith(kept) or name in files) and (ROOT / name).exists()}
    command = [sys.executable, "-m", "hatchling", "build", "--target", "sdist", "--directory", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    (path,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        found = {name.partition("/")[2] for name in archive.getnames()}
    assert wanted - found == set()
    assert "PKG-INFO" in found
    assert not any("__pycache__" in name or name.startswith((".venv", ".git/")) for name in found)


def test_the_wheel_installs_the_command(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (entry_points,) = [name for name in archive.namelist() if name.endswith("entry_points.txt")]
        assert "crynux-validate = crynux_validate.cli:main" in archive.read(entry_points).decode()
