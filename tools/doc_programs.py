"""The Python blocks of a page as one program, and what the page says to install for it."""

import re
from typing import Final

NO_RUN: Final = "<!-- no-run -->"
"""The line before a block that is not run."""

_FENCE: Final = re.compile(r"^(?P<indent> *)(?P<fence>`{3,}|~{3,})\s*(?P<language>[\w-]*)")
_INSTALL: Final = re.compile(r"^\s*pip install '?crynux-validate(\[[\w,]+\])?'?(.*)$", re.MULTILINE)


def program_of(document: str) -> str:
    """Blank everything but the Python blocks, so that line numbers in a traceback are those of the document."""
    program: list[str] = []
    fence, indent, runs, before = "", 0, False, ""
    for line in document.splitlines():
        match = _FENCE.match(line)
        kept = ""
        if not fence and match:
            fence, indent = match["fence"], len(match["indent"])
            runs = match["language"] in ("python", "py") and before != NO_RUN
        elif fence and match and match["fence"].startswith(fence) and line.strip() == match["fence"]:
            fence = ""
        elif fence and runs:
            kept = line[indent:]
        program.append(kept)
        before = line.strip() or before
    return "\n".join(program) + "\n"


def installs(document: str) -> tuple[str, list[str]]:
    """The extras that a page installs, as in ``[image,sql]``, and other packages on the same line.

    Raises
    ------
    ValueError
        For a page without a line ``pip install 'crynux-validate[...]'``.
    """
    match = _INSTALL.search(document)
    if match is None:
        raise ValueError("the page has no line `pip install 'crynux-validate[...]'`")
    return match[1] or "", match[2].partition("#")[0].split()
