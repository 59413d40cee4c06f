"""The filters and tests of chat templates: those that give every node the same, each paid for."""

import functools
import json
from collections.abc import Callable, Mapping
from typing import Any, Final

import jinja2
from jinja2 import filters, tests

from crynux_validate.errors import PipelineError
from crynux_validate.pipelines.text.templates.values import (
    MAX_DIGITS,
    MAX_WIDTH,
    STEP,
    Meter,
    Stream,
    check_replaced,
    joined,
    names,
)

_LIGHT: Final = names(
    "abs batch count d default first float int items last length list map reject rejectattr reverse round safe "
    "select selectattr slice"
)
"""Filters that look at what they are given, but not into it."""

_DEEP: Final = names(
    "capitalize center dictsort e escape format groupby indent join lower max min replace sort string sum title "
    "tojson trim truncate unique upper wordcount"
)
"""Filters that write, compare or copy all that is in what they are given."""

_GATHERED: Final = names("groupby join max min sort sum unique")
"""Those of them that go through an iterator."""

_SIZED: Final = names("batch center indent round slice tojson")
"""Filters whose settings say how much they make."""

_COMPARING: Final = names("!= < <= == > >= divisibleby eq equalto ge greaterthan gt in le lessthan lower lt ne upper")


def filters_of(meter: Meter) -> dict[str, Any]:
    """Return all filters, by their names."""
    return {name: _filter(meter, name, _OWN.get(name, filters.FILTERS[name])) for name in sorted(_LIGHT | _DEEP)}


def tests_of(meter: Meter) -> dict[str, Any]:
    """Return all tests, by their names."""
    known: Mapping[str, Any] = tests.TESTS
    return {name: _test(meter, name, test) for name, test in known.items()}


def _filter(meter: Meter, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a filter that is paid for."""
    passed = 1 if hasattr(function, "jinja_pass_arg") else 0

    @functools.wraps(function)
    def call(*args: Any, **settings: Any) -> Any:
        meter.charge(STEP)
        before, given = args[:passed], list(args[passed:])
        if name in _GATHERED and given and isinstance(given[0], Stream):
            given[0] = list(given[0])
        for value in (*given, *settings.values()):
            meter.weigh(value) if name in _DEEP else meter.shallow(value)
        if name in _SIZED:
            _check_settings(name, (*given[1:], *settings.values()))
        if name == "indent" and given:
            meter.charge(MAX_WIDTH * len(str(given[0]).splitlines()))
        return meter.made(function(*before, *given, **settings))

    return call


def _test(meter: Meter, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a test that is paid for."""
    passed = 1 if hasattr(function, "jinja_pass_arg") else 0

    @functools.wraps(function)
    def call(*args: Any) -> Any:
        meter.charge(STEP)
        if name in _COMPARING:
            for value in args[passed:]:
                meter.weigh(value)
        if name == "sameas" and not (args[-1] is None or isinstance(args[-1], bool)):
            raise TypeError("'sameas' exists for none, true and false only: what else is one object may differ")
        return function(*args)

    return call


def _check_settings(name: str, values: tuple[Any, ...]) -> None:
    most = 16 if name == "tojson" else MAX_WIDTH
    for value in values:
        size = abs(value) if isinstance(value, int) else len(value) if isinstance(value, str) else 0
        if size > most:
            raise PipelineError(f"the model's chat template sets up the filter {name!r} with more than {most}")


def _tojson(
    value: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False
) -> str:
    """Write JSON as transformers does for chat templates: not escaped for HTML."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _int(value: Any, default: Any = 0, base: int = 10) -> Any:
    if isinstance(value, str) and len(value) > MAX_DIGITS:
        raise ValueError(f"a text of {len(value)} characters is read as a number; expected at most {MAX_DIGITS}")
    return filters.do_int(value, default, base)


@jinja2.pass_environment
def _format(environment: Any, value: Any, *args: Any, **fields: Any) -> Any:
    return environment.call_binop(None, "%", environment.as_text(value), fields or args)


@jinja2.pass_environment
def _sum(environment: Any, items: Any, attribute: Any = None, start: Any = 0) -> Any:
    total = start
    for item in items if attribute is None else map(filters.make_attrgetter(environment, attribute), items):
        total = environment.call_binop(None, "+", total, item)
    return total


@jinja2.pass_eval_context
def _join(context: Any, value: Any, d: str = "", attribute: Any = None) -> Any:
    found = value if attribute is None else map(filters.make_attrgetter(context.environment, attribute), value)
    texts = [context.environment.as_text(item) for item in found]
    return filters.do_join(context, joined(context.environment.meter, str(d), texts), d)


@jinja2.pass_eval_context
def _replace(context: Any, s: Any, old: Any, new: Any, count: int | None = None) -> Any:
    check_replaced(str(s), str(old), str(new))
    return filters.do_replace(context, s, old, new, count)


_OWN: Final[Mapping[str, Callable[..., Any]]] = {
    "int": _int, "format": _format, "join": _join, "replace": _replace, "sum": _sum, "tojson": _tojson,
}  # fmt: skip
