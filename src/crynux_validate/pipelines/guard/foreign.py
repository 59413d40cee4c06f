"""Other code between a model and torch, which no switch turns off: found, and refused with what to do.

A mode that the caller has entered sees every operation and may answer it, an operation may be overridden for the whole
process, a function of torch may be replaced by another package's. None of it can be undone from here.
"""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FunctionType
from typing import Any, Final, TypeVar

import crynux_validate
from crynux_validate.errors import DeterminismError
from crynux_validate.pipelines.guard.process import loaded

Mode = TypeVar("Mode", bound=type)

_ALLOWED: Final[set[type]] = set()


def allow_mode(kind: Mode) -> Mode:
    """Let a class of modes be active when the guard is entered; use it as a decorator of a mode of this library.

    Parameters
    ----------
    kind
        A subclass of ``TorchFunctionMode`` or ``TorchDispatchMode``. What derives from it is not allowed with it. One
        that changes what is computed has a property ``record``, JSON values for the numerics record.
    """
    _ALLOWED.add(kind)
    return kind


def emulated() -> Any:
    """Return the record of the allowed mode that computes in another machine's arithmetic, None where none does."""
    records = (getattr(mode, "record", None) for mode in _active() if type(mode) in _ALLOWED)
    return next((record for record in records if record is not None), None)


def refuse_modes() -> None:
    """Raise `DeterminismError` where a mode, a transform or a tracer is active in this thread, with what to do."""
    _refuse(_modes)


def refuse_replacements() -> None:
    """Raise `DeterminismError` where another package's code is in the place of torch's or transformers' own."""
    for find in (_overrides, _functions, _registered):
        _refuse(find)


def _refuse(find: Callable[[], Iterator[str]]) -> None:
    try:
        problem = next(find(), None)
    except AttributeError as error:
        raise DeterminismError(f"this version of torch does not tell what other code does to it: {error}") from error
    if problem is not None:
        raise DeterminismError(problem)


def _active() -> list[Any]:
    """The modes that are active in this thread."""
    import torch
    from torch.utils import _python_dispatch

    overrides: Any = torch.overrides
    return [*overrides._get_current_function_mode_stack(), *_python_dispatch._get_current_dispatch_mode_stack()]


def _modes() -> Iterator[str]:
    """Modes, transforms and tracers that are active in this thread."""
    import torch
    from torch.utils._device import DeviceContext

    core: Any = torch._C
    for mode in _active():
        # A default device is a mode as well; the guard has a switch for it.
        if type(mode) is not DeviceContext and type(mode) not in _ALLOWED:
            kind = f"{type(mode).__module__}.{type(mode).__qualname__}"
            yield f"the mode {kind} is active and sees every operation; leave its `with` block before the task runs"
    if core._is_torch_function_all_disabled():
        yield "DisableTorchFunction is active, so that no noise can be given to a scheduler; leave its `with` block"
    if core._functorch.peek_interpreter_stack() is not None:
        yield "a transform of torch.func (vmap, grad, ...) is active; run the task outside of the transformed function"
    if core._get_tracing_state() is not None:
        yield "torch.jit.trace is active; run the task outside of the traced function"


_HOOKS: Final = Path(crynux_validate.__file__).parent / "testing" / "gpu" / "elsewhere.py"
"""This library's own hooks, which compute nothing."""

_known: set[str] = set()
"""Overridden operations that torch's own files are found to have overridden."""


def _overrides() -> Iterator[str]:
    """Operations of torch that Python code has overridden (``torch.library``)."""
    from torch import library

    if library._impls <= _known:
        return
    for entry in sorted(library._impls - _known):
        name, _, key = entry.rpartition("/")
        package, _, operation = name.partition("/")
        where = "" if package != "aten" or key == "Meta" else _registered_by(f"aten::{operation}", key)
        if where:
            yield (
                f"the operation aten::{operation} is overridden for {key} by {where}; run the task in a process that "
                "does not load that code"
            )
        else:
            _known.add(entry)


def _registered_by(operation: str, key: str) -> str:
    """Return the file and line that override an operation; empty where torch itself does."""
    import torch

    core: Any = torch._C
    own = str(Path(torch.__file__).parent)
    pattern = re.compile(rf"^{re.escape(key)}(?:\[alias\])?: registered at (.+) :: ", re.MULTILINE)
    # There may be none for a short time, while it is registered or removed.
    for where in pattern.findall(core._dispatch_dump(operation)):
        # What others register with a decorator of torch.library is said to come from there.
        by_torch = where.startswith(own) and not where.startswith(str(Path(own) / "library.py"))
        if not by_torch and not where.startswith(f"{_HOOKS}:"):
            return str(where)
    return ""


_seen: list[dict[str, Any]] = []
"""The names of torch and torch.nn.functional, when they were last found to be torch's own."""


def _functions() -> Iterator[str]:
    """Functions of torch that are somebody else's, as the documentation of SageAttention proposes for attention."""
    import torch
    from torch.nn import functional

    core: Any = torch._C
    present = [vars(torch), vars(functional)]
    if present == _seen:
        return
    pairs = [(torch, name) for name in dir(core._VariableFunctions) if not name.startswith("__")]
    pairs += [(functional, name) for name in vars(functional)]
    for module, name in pairs:
        function = getattr(module, name, None)
        where = _home(function)
        if where is not None and not _of(where, "torch"):
            yield (
                f"{module.__name__}.{name} is replaced by a function of {where}; run the task in a process that does "
                "not replace it"
            )
            return
    _seen[:] = [dict(names) for names in present]


def _home(function: object) -> str | None:
    """Return the module that a function is from; None for what is no function."""
    if isinstance(function, FunctionType):
        # A wrapper may say that it is from where the wrapped function is.
        return str(function.__globals__.get("__name__"))
    module = getattr(function, "__module__", None)
    special = isinstance(function, type) or module == "typing"
    return module if callable(function) and not special and isinstance(module, str) else None


_REGISTRIES: Final = (
    ("transformers.modeling_utils", "ALL_ATTENTION_FUNCTIONS"),
    ("transformers.masking_utils", "ALL_MASK_ATTENTION_FUNCTIONS"),
    ("transformers.integrations.moe", "ALL_EXPERTS_FUNCTIONS"),
)
_USED: Final = ("eager", "sdpa")


def _registered() -> Iterator[str]:
    """Implementations of attention and experts that others have registered under a name that models use."""
    for module, name in _REGISTRIES:
        registry = getattr(loaded(module), name, {})
        for implementation in _USED:
            home = _home(registry[implementation]) if implementation in registry else None
            if home is not None and not _of(home, "transformers"):
                yield (
                    f"{implementation!r} in {module}.{name} is replaced by a function of {home}; run the task in a "
                    "process that does not register it"
                )


def _of(module: str, package: str) -> bool:
    return module == package or module.startswith(package + ".")
