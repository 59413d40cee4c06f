"""The guard: it sets every switch that decides bits, checks it, and restores it afterwards.

`deterministic` is a context manager, and `switches` is its table. `numerics` reads the record that two machines
compare. (``diffusers.training_utils.enable_full_determinism`` and the function of transformers leave cuDNN on TF32, and
do not restore the switches.)
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
    """Compute in the block with every switch that decides bits at a fixed value, and restore the switches afterwards.

    In the block torch runs deterministic algorithms in full precision, without TF32, autotuning, compiled or replaced
    kernels, on one CPU thread. An operation without a deterministic algorithm raises an error. Seeds are not changed.

    Every switch is read back on entry and on a regular exit, and is restored also after an error. The environment
    variables of `prepare_process` stay set.

    The switches apply to the whole process: other threads that enter wait until this thread has left, and code of
    other threads that does not enter runs with the guard's switches, as does a process that this thread forks. The
    same thread can enter again, also from coroutines that take turns; the last to leave restores the switches.

    Raises
    ------
    DeterminismError
        If an environment variable is set too late, a switch could not be set or was changed, other code changes what
        operations compute (an active mode, an overridden operation), or a thread would wait for itself; the message
        names it. On exit also if the block is left in another thread than it was entered in.

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
        As for `deterministic`.
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
