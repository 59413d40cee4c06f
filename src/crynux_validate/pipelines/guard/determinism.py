"""The guard: sets every switch that decides bits, checks that it holds, and puts every switch back.

`deterministic` is a context manager; `switches` is its table, from which `numerics` reads the record that two machines
compare. What the field has ready (``diffusers.training_utils.enable_full_determinism``, transformers' own) leaves
cuDNN on TF32 and does not put back what was set before.
"""

import functools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from crynux_validate.pipelines.guard.foreign import allow_mode, emulated, refuse_modes, refuse_replacements
from crynux_validate.pipelines.guard.holding import HOLDER, Entry
from crynux_validate.pipelines.guard.process import VARIABLES, prepare_process, require
from crynux_validate.pipelines.guard.switch import Switch
from crynux_validate.pipelines.guard.switches import switches

__all__ = ["Switch", "allow_mode", "deterministic", "numerics", "prepare_process", "switches"]

# torch is imported when the guard is first entered, not here: `prepare_process` comes before it.
require("torch")

_UNARY: Final = (
    "abs", "acos", "acosh", "asin", "asinh", "atan", "atanh", "ceil", "cos", "cosh", "digamma", "erf", "erfc", "erfinv",
    "exp", "exp2", "expm1", "floor", "lgamma", "log", "log10", "log1p", "log2", "neg", "reciprocal", "round", "rsqrt",
    "sigmoid", "sin", "sinc", "sinh", "sqrt", "square", "tan", "tanh", "trunc",
)  # fmt: skip


@contextmanager
def deterministic() -> Iterator[None]:
    """Compute with every switch at the one value that this library uses, and put every switch back afterwards.

    Inside, torch runs deterministic algorithms in full precision, without TF32, autotuning, compiled
    or replaced kernels, on one CPU thread; anything that has no deterministic algorithm raises. The seed belongs to
    the task: random numbers are not the guard's business.

    Every switch is read back on entry and again on a regular exit, and each is restored to what it was, whatever is
    raised. The environment variables of `prepare_process` stay set.

    The switches belong to the whole process: another thread that enters waits until this one has left, and code that
    does not enter runs under the guard's switches meanwhile, as does a process that this thread forks. Entering it
    again in the same thread is fine, also from coroutines that take turns: the last to leave puts everything back.

    Raises
    ------
    DeterminismError
        Where a variable comes too late, a switch could not be set or did not hold, other code changes what operations
        compute (a mode that is active, an overridden operation), or a thread would wait for itself; the message names
        it. On exit also where the block is left in another thread than it was entered in.

    Examples
    --------
    >>> with deterministic():
    ...     product = torch.ones(2, 2) @ torch.ones(2, 2)
    """
    prepare_process()
    refuse_modes()
    table, entry = switches(), Entry()
    try:
        HOLDER.enter(entry, table)
        _check(table, "although the guard set it")
        refuse_replacements()
        _warm()
        yield
        # Where another thread leaves, `leave` says so.
        if HOLDER.thread is threading.current_thread():
            _check(table, "at the end of the guarded block")
    finally:
        try:
            HOLDER.leave(entry)
        finally:
            # An interrupt may have cut the first short.
            HOLDER.leave(entry)


def numerics() -> dict[str, Any]:
    """Return the record of every switch as the guard sets it, read back: JSON values, equal on equal machines.

    ``tensor_cores`` says which card's arithmetic is emulated (`crynux_validate.testing.tensor_cores`); None for none.

    Raises
    ------
    DeterminismError
        As `deterministic` does.
    """
    with deterministic():
        record = {switch.name: switch.show(switch.read()) for switch in switches()} | {"tensor_cores": emulated()}
    # `prepare_process` has made sure of these.
    return record | {"variables": {variable.name: variable.wanted for variable in VARIABLES}}


def _check(table: tuple[Switch, ...], when: str) -> None:
    # A mode also answers what the switches ask.
    refuse_modes()
    for switch in table:
        switch.check(when)


@functools.cache
def _warm() -> None:
    """Call every unary operation once: the first call of the vector maths library can race (pytorch issue 188792)."""
    import torch

    for dtype in (torch.float32, torch.float64):
        one = torch.full((1,), 0.5, dtype=dtype, device="cpu")
        for name in _UNARY:
            getattr(torch, name)(one)
