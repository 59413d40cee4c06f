"""Only what is used is imported: a ledger that judges pays for no torch, no numpy, no Pillow."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import crynux_validate

PACKAGE = Path(crynux_validate.__file__).parent
HEAVY = {"numpy", "torch", "PIL", "scipy", "imagehash", "diffusers", "transformers", "accelerate", "matplotlib"}
NETWORK = {
    "aiohttp", "asyncio", "ftplib", "http", "httpx", "huggingface_hub", "imaplib", "poplib", "requests", "smtplib",
    "socket", "socketserver", "ssl", "telnetlib", "urllib", "urllib3", "xmlrpc",
}  # fmt: skip


def loaded_after(code: str, tmp_path: Path) -> set[str]:
    """Top-level modules that a fresh process has loaded after running the code."""
    program = f"{code}\nimport sys\nprint('LOADED', *{{name.partition('.')[0] for name in sys.modules}})"
    # Coverage tools and the like start themselves through these, and would count as ours.
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("COV", "PYTHON"))}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    last = done.stdout.splitlines()[-1].split()
    assert last[0] == "LOADED"
    return set(last[1:])


@pytest.mark.parametrize(
    ("code", "forbidden"),
    [
        ("import crynux_validate", HEAVY | {"pydantic"}),
        ("from crynux_validate import ImageTask, judge", HEAVY),
        ("import crynux_validate.hashing", HEAVY | {"pydantic"}),
        ("from crynux_validate.hashing import hamming; assert hamming(bytes(8), 'ff' * 8) == 64", HEAVY),
    ],
)
def test_what_is_not_loaded(code: str, forbidden: set[str], tmp_path: Path) -> None:
    loaded = loaded_after(code, tmp_path)
    assert "crynux_validate" in loaded
    assert not loaded & forbidden


def test_the_check_sees_what_is_loaded(tmp_path: Path) -> None:
    assert "numpy" in loaded_after("import crynux_validate.hashing, numpy", tmp_path)


def imported_names(source: str) -> set[str]:
    """Every top-level module that a source file imports, anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.partition(".")[0])
    return names


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_module_imports_network_code(path: Path) -> None:
    assert not imported_names(path.read_text("utf-8")) & NETWORK


def test_the_check_finds_imports_inside_functions() -> None:
    assert imported_names("def f():\n    from urllib.request import urlopen\n    import socket as s") == {
        "urllib",
        "socket",
    }
