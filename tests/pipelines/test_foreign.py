# mypy: disable-error-code="no-untyped-call"
"""Other code between a model and torch is refused, with what to do; what the guard knows is allowed."""

import functools
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import pytest

pytest.importorskip("torch")

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from crynux_validate.errors import DeterminismError
from crynux_validate.pipelines.guard import foreign
from crynux_validate.pipelines.guard.determinism import allow_mode, deterministic

library: Any = torch.library
"""Without the types that torch does not give."""


class Functions(TorchFunctionMode):
    """Sees every function."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return function(*args, **(kwargs or {}))


class Operations(TorchDispatchMode):
    """Sees every operation."""

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return function(*args, **(kwargs or {}))


class Derived(Functions):
    """Derives from another mode."""


def refused(message: str) -> None:
    with pytest.raises(DeterminismError, match=message), deterministic():
        pytest.fail("the guard was entered")


@pytest.mark.parametrize(
    ("context", "message"),
    [
        (Functions, r"the mode tests\.pipelines\.test_foreign\.Functions is active .*leave its `with` block"),
        (Operations, r"the mode tests\.pipelines\.test_foreign\.Operations is active"),
        (lambda: torch._subclasses.FakeTensorMode(), "FakeTensorMode is active"),
        (torch._C.DisableTorchFunction, "DisableTorchFunction is active"),
    ],
)
def test_a_mode_of_the_caller_is_refused(context: Callable[[], AbstractContextManager[Any]], message: str) -> None:
    with context():
        refused(message)
    with deterministic():
        pass


def test_a_mode_that_is_left_on_inside_is_found_at_the_end() -> None:
    mode = Operations()
    try:
        with pytest.raises(DeterminismError, match="Operations is active"), deterministic():
            mode.__enter__()
    finally:
        mode.__exit__(None, None, None)
    with deterministic():
        pass


def test_a_mode_that_is_entered_and_left_inside_is_the_callers_own_business() -> None:
    with deterministic(), Functions(), Operations():
        torch.ones(1) + 1


@pytest.fixture
def allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(foreign, "_ALLOWED", set())
    assert allow_mode(Functions) is Functions
    allow_mode(Operations)


def test_a_mode_that_is_allowed(allowed: None) -> None:
    with Functions(), Operations(), deterministic():
        pass
    # Who derives from it may do anything.
    with Derived():
        refused("Derived is active")


def test_a_default_device_of_the_processor_is_no_foreign_mode() -> None:
    with torch.device("cpu"), deterministic():
        pass


def test_transforms_are_refused() -> None:
    def inside(x: torch.Tensor) -> torch.Tensor:
        refused(r"a transform of torch\.func \(vmap, grad, \.\.\.\) is active")
        return x * 1

    torch.func.vmap(inside)(torch.ones(2))
    torch.func.grad(lambda x: inside(x).sum())(torch.ones(2))


def test_tracing_is_refused() -> None:
    def inside(x: torch.Tensor) -> torch.Tensor:
        refused("torch.jit.trace is active")
        return x * 1

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.trace(inside, torch.ones(1), check_trace=False)


def plain(*arguments: Any, **settings: Any) -> Any:
    return arguments[0]


@pytest.fixture
def overridden() -> Iterator[Any]:
    """A library that overrides operations of torch, as long as the test runs."""
    made = library.Library("aten", "IMPL")
    with warnings.catch_warnings():
        # torch warns of it, once.
        warnings.simplefilter("ignore")
        yield made
    made._destroy()


@pytest.mark.parametrize(
    ("operation", "key"), [("sinc", "CPU"), ("mm", "CUDA"), ("softmax.int", "CompositeImplicitAutograd")]
)
def test_an_overridden_operation_is_refused(overridden: Any, operation: str, key: str) -> None:
    with deterministic():
        pass
    overridden.impl(operation, plain, key)
    refused(rf"aten::{operation} is overridden for {key} by .*test_foreign\.py:\d+; run the task in a process that")
    overridden._destroy()
    with deterministic():
        pass


def test_an_override_by_the_public_decorator_is_refused() -> None:
    made = library.Library("aten", "FRAGMENT")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        library.register_kernel("aten::special_erfcx", "cpu", plain, lib=made)
    try:
        refused("aten::special_erfcx is overridden for CPU by")
    finally:
        made._destroy()


def test_operations_of_others_are_none_of_the_guards_business() -> None:
    made = library.Library("a_package_of_somebody", "DEF")
    made.define("twice(Tensor x) -> Tensor")
    made.impl("twice", lambda x: x * 2, "CPU")
    try:
        with deterministic():
            pass
    finally:
        made._destroy()


@pytest.mark.parametrize(
    ("module", "name"), [(functional, "scaled_dot_product_attention"), (functional, "linear"), (torch, "matmul")]
)
@pytest.mark.parametrize("kind", ["plain", "partial", "wraps"])
def test_a_replaced_function_is_refused(monkeypatch: pytest.MonkeyPatch, module: Any, name: str, kind: str) -> None:
    """As the documentation of SageAttention says, and as tools for measuring do it."""
    original = getattr(module, name)
    ways = {"plain": plain, "partial": functools.partial(plain), "wraps": functools.wraps(original)(lambda *a: a[0])}
    monkeypatch.setattr(module, name, ways[kind])
    refused(rf"{module.__name__}\.{name} is replaced by a function of (tests\.pipelines\.test_foreign|functools)")
    monkeypatch.setattr(module, name, original)
    with deterministic():
        pass


@pytest.mark.parametrize("name", ["eager", "sdpa"])
def test_a_registered_implementation_is_refused(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    modeling = pytest.importorskip("transformers.modeling_utils")
    monkeypatch.setitem(modeling.AttentionInterface._global_mapping, name, plain)
    refused(rf"'{name}' in transformers\.modeling_utils\.ALL_ATTENTION_FUNCTIONS is replaced by a function of tests\.")


def test_a_torch_that_tells_nothing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch._C, "_get_tracing_state")
    refused("this version of torch does not tell what other code does to it: .*_get_tracing_state")
