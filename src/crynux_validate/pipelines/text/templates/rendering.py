"""Rendering a stranger's chat template: the same text on every node, or an error.

What would make nodes differ does not exist here: randomness, clocks, places in memory, the order of sets, languages,
powers of fractions (which each system's mathematics library rounds in its own way). What exists is listed, so that
nothing has to be searched for. What a template does is counted, and ends (`template_values`).

A good template gives what transformers gives: the variables, whitespace, ``tojson``, loop controls and
``{% generation %}`` are those of ``transformers.utils.chat_template_utils``.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

import jinja2
from jinja2 import meta, nodes, pass_context
from jinja2.exceptions import SecurityError
from jinja2.ext import loopcontrols
from jinja2.runtime import Context, Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Cycler, Joiner

from crynux_validate.errors import PipelineError
from crynux_validate.pipelines.models.loading import first_line
from crynux_validate.pipelines.text.templates.counting import Counting, Generation
from crynux_validate.pipelines.text.templates.filters import filters_of, tests_of
from crynux_validate.pipelines.text.templates.values import (
    CALLABLE,
    MAX_DEPTH,
    MAX_WIDTH,
    STEP,
    Function,
    Meter,
    TemplateNamespace,
    check_length,
    check_percent,
    held,
)

MAX_SOURCE: Final = 1_048_576
"""The most characters of a template."""

_RAISED: Final = (
    jinja2.TemplateError, ValueError, RuntimeError, LookupError, TypeError, AttributeError, ArithmeticError,
    AssertionError, SyntaxError, MemoryError,
)  # fmt: skip
"""What a stranger's template raises, when it is compiled and when it is rendered."""


def render(source: str, variables: Mapping[str, Any], functions: Mapping[str, Callable[..., Any]]) -> str:
    """Fill in a chat template.

    Parameters
    ----------
    source
        The template.
    variables
        What it sees: JSON values.
    functions
        What else it may call, beside ``raise_exception`` and jinja2's own functions that are the same everywhere.

    Raises
    ------
    PipelineError
        For a template that raises, that uses what does not exist here, or that does not end.
    """
    environment = _Environment(functions)
    pieces = []
    written = 0
    try:
        tree = Counting(environment).visit(_parsed(environment, source))
        tree.set_environment(environment).set_lineno(1)
        code = environment.compile(tree)
        template = environment.template_class.from_code(environment, code, environment.make_globals(None))
        for piece in template.generate(variables):
            written += len(piece)
            check_length(written)
            pieces.append(piece)
    except PipelineError:
        raise
    except _RAISED as error:
        raise PipelineError(f"the model's chat template refuses the messages: {first_line(error)}") from error
    return "".join(pieces)


def reads(source: str) -> set[str]:
    """Return the names of the variables that a chat template reads somewhere; errors as of `render`."""
    environment = _Environment({})
    try:
        return meta.find_undeclared_variables(_parsed(environment, source))
    except _RAISED as error:
        raise PipelineError(f"the model's chat template cannot be read: {first_line(error)}") from error


def _parsed(environment: "_Environment", source: str) -> nodes.Template:
    if len(source) > MAX_SOURCE:
        raise PipelineError(f"the model's chat template has {len(source)} characters; expected at most {MAX_SOURCE}")
    return environment.parse(source)


class _Environment(ImmutableSandboxedEnvironment):
    """What a template finds: every function, filter, test and method that is listed, and no other."""

    intercepted_binops = frozenset(ImmutableSandboxedEnvironment.default_binop_table)

    def __init__(self, functions: Mapping[str, Callable[..., Any]]) -> None:
        # Nothing is computed while compiling: only what runs is counted.
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=[Generation, loopcontrols],
            optimized=False,
            finalize=_written,
            cache_size=0,
        )
        self.meter = meter = Meter()
        self._depth = 0
        self.filters = filters_of(meter)
        self.tests = tests_of(meter)
        offered: dict[str, Any] = {
            "raise_exception": _raise, "range": self.globals["range"], "dict": dict, "namespace": TemplateNamespace,
            "cycler": Cycler, "joiner": Joiner, **functions,
        }  # fmt: skip
        self.globals: dict[str, Any] = {name: Function(function) for name, function in offered.items()}
        # What compiled templates call (see Counting).
        self.tick = Function(meter.tick)
        self.shallow = Function(meter.shallow)
        self.weighed = Function(meter.weighed)
        self.text = Function(self.as_text)
        self.written = Function(lambda caller: caller())

    def as_text(self, value: Any) -> str:
        """Write a value."""
        if not isinstance(value, str):
            value = str(self.meter.weighed(value))
        self.meter.charge(len(value))
        text: str = value
        return text

    def getattr(self, obj: Any, attribute: str) -> Any:
        return held(self.meter, obj, attribute, super().getattr(obj, attribute))

    def getitem(self, obj: Any, argument: Any) -> Any:
        return held(self.meter, obj, argument, super().getitem(obj, argument))

    def call(self, context: Context, obj: Any, /, *args: Any, **settings: Any) -> Any:
        """Call what may be called."""
        self.meter.charge(STEP)
        if isinstance(obj, Undefined):
            obj._fail_with_undefined_error()
        if not isinstance(obj, CALLABLE):
            raise SecurityError(f"a {type(obj).__name__} cannot be called")
        if isinstance(obj, Function):
            for value in (*args, *settings.values()):
                self.meter.shallow(value)
            return self.meter.made(context.call(obj, *args, **settings))
        self._depth += 1
        try:
            if self._depth > MAX_DEPTH:
                raise PipelineError(f"the model's chat template calls itself more than {MAX_DEPTH} deep")
            return self.meter.made(context.call(obj, *args, **settings))
        finally:
            self._depth -= 1

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Compute with numbers, and put texts and lists together; nothing else has operators."""
        self.meter.charge(STEP)
        for value in (left, right):
            if isinstance(value, Undefined):
                value._fail_with_undefined_error()
        if operator == "%" and isinstance(left, str):
            check_percent(left)
            self.meter.charge(len(left) + left.count("%") * self.meter.weigh(right))
        elif operator == "*" and _sequence_and_number(left, right):
            sequence, number = (right, left) if isinstance(left, int) else (left, right)
            check_length(len(sequence) * max(number, 0))
            self.meter.charge(len(sequence) * max(number, 0))
        elif operator == "+" and any(isinstance(left, kind) and isinstance(right, kind) for kind in _SEQUENCES):
            check_length(len(left) + len(right))
            self.meter.charge(len(left) + len(right))
        elif not isinstance(left, int | float) or not isinstance(right, int | float):
            raise TypeError(f"{operator} of a {type(left).__name__} and a {type(right).__name__} does not exist here")
        elif operator == "**" and not (isinstance(left, int) and isinstance(right, int) and 0 <= right <= MAX_WIDTH):
            raise TypeError("** exists for integers only: systems round other powers in their own way")
        return self.meter.made(super().call_binop(context, operator, left, right))


_SEQUENCES: Final = (str, list, tuple)


def _sequence_and_number(left: Any, right: Any) -> bool:
    return any(isinstance(a, _SEQUENCES) and isinstance(b, int) for a, b in ((left, right), (right, left)))


@pass_context
def _written(context: Context, value: Any) -> str:
    """Write what stands between double braces: four units a character, for the copies on the way out of macros."""
    environment = context.environment
    assert isinstance(environment, _Environment)  # noqa: S101 - for the type checker: contexts are made by it alone
    text = environment.as_text(value)
    environment.meter.charge(3 * len(text))
    return text


def _raise(message: object) -> None:
    raise jinja2.TemplateError(str(message) if isinstance(message, str) else type(message).__name__)
