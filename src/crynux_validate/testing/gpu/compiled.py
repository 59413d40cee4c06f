"""What a compiler made of a model, which computes products that no mode sees: refused, as long as a context lasts.

A function of ``torch.compile`` is called uncompiled where a mode is active, and TorchScript asks torch for each of its
operations. Both are computed as they should be. But code that inductor made, called by itself or for gradients, a
package of AOTInductor, a static module, and the groups that TorchScript fuses compute by themselves.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import torch

from crynux_validate.errors import FakeHardwareError


@contextmanager
def refused_compiled(inside: Callable[[], object]) -> Iterator[None]:
    """Refuse compiled code in every thread; `inside` returns the context, for the message."""
    with ExitStack() as stack:
        for kind, name, replacement in _replacements(inside):
            stack.enter_context(mock.patch.object(kind, name, replacement))
        yield


def _replacements(inside: Callable[[], object]) -> list[tuple[type, str, Callable[..., Any]]]:
    """Whatever runs compiled code: a class, the name of its method, and what stands there meanwhile."""
    core: Any = torch._C
    try:
        from torch._inductor.output_code import CompiledAOTI, CompiledFxGraph

        package, runner = core._aoti.AOTIModelPackageLoader, core._aoti.AOTIModelContainerRunnerCpu
        unseen = [(kind, "__call__") for kind in (CompiledFxGraph, CompiledAOTI, core.StaticModule)]
        unseen += [(package, "run"), (package, "boxed_run"), (runner, "run")]
        scripts = [(kind, kind.__call__) for kind in (core.ScriptFunction, core.ScriptMethod)]
    except (ImportError, AttributeError) as error:
        raise FakeHardwareError(f"this version of torch does not tell where it runs compiled code: {error}") from error
    return [
        *((kind, name, _refusing(kind, inside)) for kind, name in unseen),
        *((kind, "__call__", _looking(call, inside)) for kind, call in scripts),
    ]


def _refusing(kind: type, inside: Callable[[], object]) -> Callable[..., Any]:
    def refuse(*_: Any, **__: Any) -> Any:
        raise _error(f"compiled code ({kind.__name__})", inside)

    return refuse


def _looking(call: Callable[..., Any], inside: Callable[[], object]) -> Callable[..., Any]:
    """Call TorchScript, and refuse its result where a part of it was fused."""

    def look(self: Any, *args: Any, **kwargs: Any) -> Any:
        found = call(self, *args, **kwargs)
        fused = next((kind for kind in _kinds(_last_graph()) if _is_fused(kind)), None)
        if fused is not None:
            raise _error(f"TorchScript ({fused})", inside)
        return found

    return look


def _last_graph() -> Any:
    """What TorchScript ran last in this thread."""
    core: Any = torch._C
    return core._last_executed_optimized_graph()


def _is_fused(kind: str) -> bool:
    return "Fusion" in kind or "TensorExpr" in kind


def _kinds(block: Any) -> Iterator[str]:
    for node in block.nodes():
        yield node.kind()
        for part in node.blocks():
            yield from _kinds(part)


def _error(what: str, inside: Callable[[], object]) -> FakeHardwareError:
    return FakeHardwareError(
        f"{what} is called inside {inside()!r}, and its products cannot be seen; call the model as it was before it "
        "was compiled or fused"
    )
