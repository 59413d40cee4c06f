"""The public names, and what the wheel holds."""

import ast
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

import crynux_validate

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "crynux_validate"


def test_every_public_name_resolves() -> None:
    names = crynux_validate.__all__
    assert len(set(names)) == len(names)
    for name in names:
        assert getattr(crynux_validate, name) is not None
    assert set(names) <= set(dir(crynux_validate))


def test_all_is_complete() -> None:
    """What type checkers see is what ``__all__`` lists."""
    tree = ast.parse((PACKAGE / "__init__.py").read_text("utf-8"))
    seen = {"__version__"}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("crynux_validate"):
            seen.update(alias.asname or alias.name for alias in node.names)
    assert set(crynux_validate.__all__) | {"__version__"} == seen


def test_star_import_gives_all() -> None:
    namespace: dict[str, object] = {}
    exec("from crynux_validate import *", namespace)
    assert set(crynux_validate.__all__) <= set(namespace)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = crynux_validate.no_such_name
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


def test_the_wheel_installs_the_command(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (entry_points,) = [name for name in archive.namelist() if name.endswith("entry_points.txt")]
        assert "crynux-validate = crynux_validate.cli:main" in archive.read(entry_points).decode()
