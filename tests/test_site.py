"""The documentation site: every public name has a place in it, and it asks no other host for anything."""

import importlib
import pkgutil
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import crynux_validate

ROOT = Path(__file__).parents[1]
PLACES = re.findall(
    r"^::: (\S+)$", "\n".join(page.read_text("utf-8") for page in (ROOT / "docs" / "api").glob("*.md")), re.MULTILINE
)

_ASKED = re.compile(
    r"""(?:<(?:script|img|iframe|source)\b[^>]*\bsrc|<link\b[^>]*\bhref)=["']?(?:https?:)?//[^"'\s>]+"""
)
_STYLE = re.compile(r"""(?:@import|url\()\s*["']?(?:https?:)?//[^"')\s]+""")


def test_every_public_name_has_one_place() -> None:
    wanted = {f"crynux_validate.{name}" for name in crynux_validate.__all__}
    for module in set(crynux_validate._MODULES) - {"errors"}:  # its page shows the whole module
        names = importlib.import_module(f"crynux_validate.{module}").__all__
        wanted |= {f"crynux_validate.{module}.{name}" for name in names}
    wanted -= {
        "crynux_validate.__version__",
        "crynux_validate.CrynuxValidateError",
        "crynux_validate.testing.fake_hardware",
    }
    assert wanted - set(PLACES) == set(), "public names that no page of docs/api has"
    assert len(PLACES) == len(set(PLACES))


@pytest.mark.parametrize("place", PLACES)
def test_every_place_is_of_something(place: str) -> None:
    if find_spec("torch") and find_spec("diffusers"):  # without an extra, its names are not there
        pkgutil.resolve_name(place)


def requests_of(site: Path) -> list[str]:
    """What a browser would ask other hosts for, by itself."""
    found = []
    for path in site.rglob("*"):
        if path.suffix == ".html":
            text = path.read_text("utf-8")
            found += _ASKED.findall(text)
            found += ["a drawing of mermaid, whose script comes from elsewhere"] * ('class="mermaid"' in text)
        elif path.suffix == ".css":
            found += _STYLE.findall(path.read_text("utf-8"))
    return found


@pytest.mark.long  # half a minute; CI installs what it needs with `make docs`
@pytest.mark.skipif(find_spec("mkdocs") is None, reason="mkdocs is not installed: `make docs`")
def test_the_site_builds_and_asks_nobody(tmp_path: Path) -> None:
    site = tmp_path / "site"
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(site)]
    # --quiet would keep --strict from counting warnings
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    assert (site / "api" / "judging.html").exists()
    tasks = (site / "api" / "tasks.html").read_text("utf-8")
    assert "DDIMScheduler" in tasks, "the page says that every field of a task is required: tools/site_api.py"
    assert requests_of(site) == []


@pytest.mark.parametrize(
    ("name", "text", "asks"),
    [
        ("a.html", '<link rel="stylesheet" href="https://fonts.example/css">', 1),
        ("a.html", '<script defer src="//cdn.example/x.js"></script>', 1),
        ("a.html", '<pre class="mermaid">graph</pre>', 1),
        ("a.css", "@import 'https://fonts.example/css';", 1),
        ("a.css", "p { background: url(https://pictures.example/a.png) }", 1),
        ("a.html", '<a href="https://elsewhere.example">a link is no request</a><script src="x.js"></script>', 0),
    ],
)
def test_a_request_is_found(tmp_path: Path, name: str, text: str, asks: int) -> None:
    (tmp_path / name).write_text(text, "utf-8")
    assert len(requests_of(tmp_path)) == asks
