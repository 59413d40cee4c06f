"""Follow the tutorials as a newcomer does: ``python -m tools.follow_tutorials``.

For each page: a new environment with what the page says to install, from this clone, and the page's program in an empty
folder. This takes minutes and gigabytes. Name pages to follow only those.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path
from typing import Final

from tools.doc_programs import installs, program_of

ROOT: Final = Path(__file__).parent.parent
TUTORIALS: Final = sorted((ROOT / "docs" / "tutorials").glob("*.md"))


def follow(page: Path) -> str | None:
    """Follow one page; returns what went wrong, or None."""
    document = page.read_text("utf-8")
    extras, others = installs(document)
    with tempfile.TemporaryDirectory() as folder:
        where = Path(folder)
        venv.create(where / "environment", with_pip=True)
        python = where / "environment" / ("Scripts" if os.name == "nt" else "bin") / "python"
        constraints = ("--constraint", str(ROOT / "constraints.txt"))
        program = where / f"test_{page.stem.replace('-', '_')}.py"
        program.write_text(program_of(document), "utf-8")
        (where / "empty").mkdir()
        tests = ("-m", "pytest", "-q") if any(mark in document for mark in ("\ndef test_", "\nclass Test")) else ()
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        for command in (
            (str(python), "-m", "pip", "install", "--quiet", *constraints, f"{ROOT}{extras}", *others),
            (str(python), *tests, str(program)),
        ):
            done = subprocess.run(
                command, cwd=where / "empty", env=environment, capture_output=True, text=True, check=False
            )
            if done.returncode:
                return f"{' '.join(command)} ended with {done.returncode}\n{done.stdout}{done.stderr}"
    return None


def main() -> int:
    """Follow the pages; 1 where one does not work."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("pages", nargs="*", type=Path, default=TUTORIALS, metavar="PAGE.md")
    failures = 0
    for page in parser.parse_args().pages:
        started = time.monotonic()
        problem = follow(page)
        failures += problem is not None
        print(
            f"{page.name}: {'works' if problem is None else problem} ({time.monotonic() - started:.0f} s)", flush=True
        )
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
