"""Public names that are imported when they are first used, and what is said of those that cannot be.

A name whose packages are not installed is not there: ``hasattr`` says so, and ``dir`` and a star import leave it out.
A program that names it is told what to install.
"""

import sys
from importlib import import_module

TYPE_CHECKING = False  # that of typing is not imported: this is the first that the command line waits for
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from typing import Any

_WRITTEN_OUT = ("IMPORT_FROM", "LOAD_ATTR", "LOAD_METHOD")
"""What Python does for ``from package import name`` and ``package.name``; ``getattr`` and ``hasattr`` are calls."""


class MissingNameError(AttributeError):
    """A public name whose packages are not installed, for whoever only asks whether it is there."""


def installed(package: str) -> bool:
    """Whether a top-level package can be found; it is not imported."""
    if package in sys.modules:
        return sys.modules[package] is not None
    found = (finder.find_spec(package, None) for finder in sys.meta_path if hasattr(finder, "find_spec"))
    return any(spec is not None for spec in found)


def importer(
    package: str, modules: "Mapping[str, str]", needs: "Mapping[str, tuple[str, tuple[str, ...]]]"
) -> "Callable[[str], Any]":
    """Return the ``__getattr__`` of a package (PEP 562).

    Parameters
    ----------
    package
        Its name.
    modules
        For each public name the module of the package that holds it, or that it is.
    needs
        For some of them the extra, and the packages of it without which they are not there.
    """

    def get(name: str) -> "Any":
        """Import a public name when it is first used.

        Raises
        ------
        AttributeError
            For what is no public name, or only asked for and not there.
        MissingExtraError
            Where a program names what is not there: says what to install.
        """
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        extra, wanted = needs.get(name, ("", ()))
        missing = next((one for one in wanted if not installed(one)), None)
        try:
            module = None if missing else import_module(f"{package}.{modules[name]}")
        except ModuleNotFoundError as error:
            missing = (error.name or "").partition(".")[0]
            if not extra or missing == __name__.partition(".")[0]:
                raise
        if missing is not None:
            from crynux_validate.errors import MissingExtraError

            said = MissingExtraError(f"{package}.{name}", extra, missing)
            raise said if _is_written_out(sys._getframe(1)) else MissingNameError(str(said))
        value = module if modules[name] == name else getattr(module, name)
        setattr(sys.modules[package], name, value)
        return value

    return get


def public(names: "Collection[str]", needs: "Mapping[str, tuple[str, tuple[str, ...]]]") -> "list[str]":
    """Return those of some names whose packages are installed."""
    there = {package: installed(package) for _, wanted in needs.values() for package in wanted}
    return [name for name in names if all(there[package] for package in needs.get(name, ("", ()))[1])]


def _is_written_out(frame: "Any") -> bool:
    """Whether a program is at an attribute or an import that stands in its text, and not at a call that asks."""
    from opcode import opname

    return opname[frame.f_code.co_code[frame.f_lasti]] in _WRITTEN_OUT
