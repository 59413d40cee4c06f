"""Run by CI in an environment that has nothing but the wheel and its base dependencies: no torch, no sources."""

import importlib.util
import json
import sys
from importlib.resources import files

import crynux_validate
from crynux_validate.cli import main as main_of_commands
from crynux_validate.hashing import hamming, image_hash


def main() -> int:
    """Return 0 if the installed wheel is complete, else say what is not."""
    problems = []
    if "site-packages" not in crynux_validate.__file__:
        problems.append(f"imported from {crynux_validate.__file__}, not from an installed wheel")
    problems += [f"{name} is installed" for name in ("torch", "diffusers") if importlib.util.find_spec(name)]

    package = files("crynux_validate")
    if not (package / "py.typed").is_file():
        problems.append("py.typed is missing")
    folder = package / "vectors" / "phash"
    vectors = json.loads((folder / "vectors.json").read_text("utf-8"))["vectors"]
    checked = 0
    for vector in vectors:
        if vector["mode"] != "RGB":
            continue
        found = image_hash((folder / "images" / vector["file"]).read_bytes())
        checked += 1
        if hamming(found, vector["imagehash"]) != 0:
            problems.append(f"{vector['file']} hashes to {found}, not to {vector['imagehash']}")
    if not checked:
        problems.append("no vector was checked")
    if main_of_commands(["vectors", "--verify"]) != 0:
        problems.append("a vector does not hold")
    sys.stderr.writelines(f"wheel: {problem}\n" for problem in problems)
    sys.stdout.write(f"wheel: {checked} pictures hashed, {len(problems)} problems\n")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
