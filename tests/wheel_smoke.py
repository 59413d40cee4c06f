"""Run by CI in an environment that has nothing but the wheel: first without extras, then with the extra ``hash``.

``python wheel_smoke.py`` checks what a relay that only judges has, ``python wheel_smoke.py hash`` all vectors.
"""

import importlib.util
import sys
from importlib.resources import files
from pathlib import Path

import crynux_validate as cv
from crynux_validate.cli import main as main_of_commands

MAX_MEGABYTES = {"": 40, "hash": 150}
"""How large the wheel with its dependencies may be; they are 13 and 110 on Linux."""

NOT_THERE = {
    "": ("numpy", "PIL", "scipy", "imagehash", "torch", "diffusers"),
    "hash": ("scipy", "imagehash", "torch", "diffusers"),
}
_NO_PART = ("pip", "setuptools", "pkg_resources", "_distutils_hack", "wheel")


def megabytes() -> float:
    """The size of everything that was installed, but for the tools that install."""
    root = Path(cv.__file__).parents[1]
    found = [path for path in root.iterdir() if path.name.split("-")[0] not in _NO_PART]
    every = [file for path in found for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file()]
    return sum(file.stat().st_size for file in every if file.suffix != ".pyc") / 1e6


def judged() -> bool:
    """Whether two that agree are told from one that does not."""
    near, far = (cv.ImageScore.from_hex(text) for text in ("e0690b4d6d66739b", "00ff00ff00ff00ff"))
    verdict = cv.judge({"node-1": near, "node-2": near, "node-3": far}, cv.CentreRule(threshold=16))
    return {node: found.name for node, found in verdict.findings.items()} == {
        "node-1": "VALID",
        "node-2": "VALID",
        "node-3": "INVALID",
    }


def main(extra: str = "") -> int:
    """Return 0 if the installed wheel is complete, else say what is not."""
    problems = []
    if "site-packages" not in cv.__file__:
        problems.append(f"imported from {cv.__file__}, not from an installed wheel")
    problems += [f"{name} is installed" for name in NOT_THERE[extra] if importlib.util.find_spec(name)]
    size = megabytes()
    if size > MAX_MEGABYTES[extra]:
        problems.append(f"{size:.0f} MB are installed; expected at most {MAX_MEGABYTES[extra]}")
    if not (files("crynux_validate") / "py.typed").is_file():
        problems.append("py.typed is missing")
    if not judged():
        problems.append("a group is judged otherwise")
    if main_of_commands(["compare", "e0690b4d6d66739b", "e0690b4d6d66739b"]) != 0:
        problems.append("two equal scores do not agree")
    if main_of_commands(["vectors", "--verify"]) != (0 if extra == "hash" else 2):
        problems.append("a vector does not hold" if extra else "vectors were verified without what they need")
    sys.stderr.writelines(f"wheel: {problem}\n" for problem in problems)
    sys.stdout.write(f"wheel{f' with {extra}' if extra else ''}: {size:.0f} MB, {len(problems)} problems\n")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:2]))
