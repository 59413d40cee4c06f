"""Looking at the packages: what is not installed is not there, nothing raises, and nothing heavy is imported."""

import importlib
import inspect
import json
import pkgutil
import subprocess
import sys
from pathlib import Path
from typing import get_type_hints

import pytest

import crynux_validate
from crynux_validate import lazy, testing

_LOOK = """
import importlib, inspect, json, pydoc, rlcompleter, sys
for hidden in {hidden!r}:
    sys.modules[hidden] = None
found = {{}}
for name in ("crynux_validate", "crynux_validate.testing"):
    module = importlib.import_module(name)
    pydoc.render_doc(module)
    completer = rlcompleter.Completer({{"module": module}})
    completed = []
    while (word := completer.complete("module.", len(completed))) is not None:
        completed.append(word.partition(".")[2].rstrip("()"))
    starred = {{}}
    exec(f"from {{name}} import *", starred)
    starred.pop("__builtins__")
    found[name] = {{
        "dir": dir(module),
        "getmembers": [member for member, _ in inspect.getmembers(module)],
        "tab": sorted(set(completed) & set(dir(module))),
        "star": sorted(starred),
        "public": sorted(set(module._MODULE_OF if name == "crynux_validate" else module._HOMES)),
        "there": [member for member in module.__all__ if hasattr(module, member)],
        "missing": [member for member in (module._NEEDS) if not hasattr(module, member)],
        "none": [getattr(module, member, None) is None for member in module._NEEDS if member not in dir(module)],
    }}
print(json.dumps([found, sorted({{"torch", "diffusers", "transformers", "sqlalchemy"}} & {{
    name for name, module in sys.modules.items() if module is not None}})]))
"""
_EXTRAS = ["torch", "diffusers", "transformers", "sqlalchemy", "pytest", "hypothesis", "cryptography"]


_HIDDEN = {
    "base": _EXTRAS,
    "no torch": ["torch"],
    "no sql": ["sqlalchemy"],
    "text alone": ["diffusers"],
    "all": [],
}


@pytest.mark.parametrize("hidden", _HIDDEN.values(), ids=_HIDDEN)
def test_looking_at_a_package(hidden: list[str], tmp_path: Path) -> None:
    program = _LOOK.format(hidden=hidden)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    found, heavy = json.loads(done.stdout)
    for views in found.values():
        names = sorted(views["dir"])
        public = {*views["public"], "__version__"} & {*views["public"], *names}
        assert set(names) == public - set(views["missing"])
        for view in ("getmembers", "tab", "star", "there"):
            there = [name for name in names if view != "tab" or not name.startswith("_")]
            if view in ("star", "there"):  # the public modules are attributes, and in no __all__
                there = [name for name in there if name not in crynux_validate._MODULES]
            assert sorted(set(views[view]) & set(there)) == there, view
        assert all(views["none"])
    assert bool(found["crynux_validate"]["missing"]) == bool(hidden)
    assert "diffusers" not in heavy
    assert "transformers" not in heavy


@pytest.mark.parametrize(
    ("code", "extra"),
    [
        ("cv.Runner", "all"),
        ("cv.Runner()", "all"),
        ("cv.ImageResult", "image"),
        ("from crynux_validate import TextResult", "text"),
        ("cv.SqlLedger('sqlite:///x')", "sql"),
        ("testing.LedgerConformance", "test"),
        ("from crynux_validate.testing import LedgerConformance", "test"),
    ],
)
def test_a_program_that_names_it_is_told_what_to_install(
    code: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in _EXTRAS:
        monkeypatch.setitem(sys.modules, package, None)
    for module in (crynux_validate, testing):
        for name in module._NEEDS:
            monkeypatch.delitem(vars(module), name, raising=False)
    with pytest.raises(crynux_validate.errors.MissingExtraError, match=rf"pip install 'crynux-validate\[{extra}\]'"):
        exec(code, {"cv": crynux_validate, "testing": testing})
    name = code.partition("(")[0].replace(".", " ").split()[-1]
    module = testing if "testing" in code else crynux_validate
    assert not hasattr(module, name)
    with pytest.raises(AttributeError, match=rf"pip install 'crynux-validate\[{extra}\]'"):
        getattr(module, name)
    with pytest.raises(AttributeError):
        inspect.getattr_static(module, name)


def test_a_package_of_an_extra_without_its_own_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What looks installed, and lacks something itself, is not there either."""
    package = tmp_path / "half"
    package.mkdir()
    (package / "__init__.py").write_text(
        "from crynux_validate import lazy\n"
        "__getattr__ = lazy.importer(__name__, {'Name': 'module'}, {'Name': ('all', ('json',))})\n"
    )
    (package / "module.py").write_text("import no_such_package\n")
    monkeypatch.syspath_prepend(tmp_path)
    import half  # type: ignore[import-not-found]

    assert not hasattr(half, "Name")
    with pytest.raises(crynux_validate.errors.MissingExtraError, match="no_such_package"):
        _ = half.Name


def test_a_digest_is_text() -> None:
    """Whatever a class calls its digest, or its declaration, is text or not there; no caller has to ask which."""
    found = {}
    names = [module.name for module in pkgutil.walk_packages(crynux_validate.__path__, "crynux_validate.")]
    names.remove("crynux_validate.__main__")
    for module in map(importlib.import_module, names):
        for kind in vars(module).values():
            if inspect.isclass(kind) and kind.__module__.startswith("crynux_validate."):
                for name in ("digest", "declaration"):
                    if name in vars(kind) or name in inspect.get_annotations(kind):
                        part = vars(kind).get(name)
                        reader = getattr(part, "func", None) or getattr(part, "fget", None)
                        hints = get_type_hints(kind if reader is None else reader)
                        found[kind.__name__, name] = hints[name if reader is None else "return"]
    assert {kind for kind, _ in found} >= {"BaseTask", "ModelRef", "Pool", "NodeClass", "Event", "Head"}
    assert {name: hint for name, hint in found.items() if hint not in (str, str | None)} == {}


def test_installed() -> None:
    assert lazy.installed("json")
    assert lazy.installed("pytest")
    assert not lazy.installed("no_such_package")
