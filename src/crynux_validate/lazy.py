"""Public names that are imported when they are first used.

A name that needs a package that is not installed is left out of ``dir`` and of a star import, and ``hasattr`` is False.
A program that uses such a name gets an error that says what to install.
"""

import sys
from importlib import import_module

TYPE_CHECKING = False  # typing is not imported, so that the command line starts sooner
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from typing import Any

_WRITTEN_OUT = ("IMPORT_FROM", "LOAD_ATTR", "LOAD_METHOD")
"""The instructions of ``from package import name`` and ``package.name``; ``getattr`` and ``hasattr`` are calls."""


class MissingNameError(AttributeError):
    """The answer to ``hasattr`` and ``getattr`` for a public name whose packages are not installed."""


def installed(package: str) -> bool:
    """Whether a top-level package can be found. The package is not imported."""
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
        The name of the package.
    modules
        For each public name the module of the package that has it; for a public module the module itself.
    needs
        For names that need an extra: the extra, and the packages that must be installed.
    """

    def get(name: str) -> "Any":
        """Import a public name when it is first used.

        Raises
        ------
        AttributeError
            If `name` is not public; and for ``hasattr`` and ``getattr``, if a package is not installed.
        MissingExtraError
            If the program uses the name and a package is not installed.
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
    """Return the names whose packages are installed."""
    there = {package: installed(package) for _, wanted in needs.values() for package in wanted}
    return [name for name in names if all(there[package] for package in needs.get(name, ("", ()))[1])]


def _is_written_out(frame: "Any") -> bool:
    """Whether the program's current instruction is an attribute or an import, and not a call such as ``hasattr``."""
    from opcode import opname

    return opname[frame.f_code.co_code[frame.f_lasti]] in _WRITTEN_OUT
