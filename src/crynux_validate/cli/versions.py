"""``crynux-validate --version``: this version, and those of all that decides what it computes."""

import argparse
import sys
from collections.abc import Iterator
from typing import Any, Final

import crynux_validate
from crynux_validate.cli.output import say

PACKAGES: Final = ("torch", "diffusers", "transformers", "numpy", "Pillow", "pydantic", "SQLAlchemy")
"""What a report of a bug should name; none of them is imported."""


class ShowVersions(argparse.Action):
    """Print the versions, and end."""

    def __init__(self, option_strings: Any, dest: str, **known: Any) -> None:
        super().__init__(option_strings, dest, nargs=0, **known)

    def __call__(self, *_: Any) -> None:
        say("\n".join(versions()))
        sys.exit(0)


def versions() -> Iterator[str]:
    """The version in a line of its own, then a line for Python, the machine, and each package."""
    import platform
    from importlib.metadata import PackageNotFoundError, version

    yield f"crynux-validate {crynux_validate.__version__}"
    yield f"Python {platform.python_version()} ({platform.python_implementation()})"
    yield f"{platform.platform()} on {platform.machine()}"
    for name in PACKAGES:
        try:
            yield f"{name} {version(name)}"
        except PackageNotFoundError:
            yield f"{name} is not installed"
