"""What a chat template may hold and do with it, and what that costs.

Every value is of a kind whose text follows from the task alone, on every machine: no sets, whose order differs between
processes, and nothing that is written with its place in memory. Everything that takes time or memory is paid for from
one budget, counted and not timed, so that honest nodes refuse the same templates.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from string import Formatter
from typing import Any, Final, NoReturn

from jinja2.exceptions import SecurityError
from jinja2.runtime import BlockReference, LoopContext, Macro, TemplateReference, Undefined
from jinja2.utils import Cycler, Joiner, Namespace

from crynux_validate.errors import PipelineError

MAX_TEXT: Final = 4_194_304
"""The most characters of one text: of the prompt, and of whatever a template keeps on the way to it."""

MAX_WORK: Final = 2**28
"""What a template may spend: one unit for a character or an item that it copies, `STEP` for each thing that it does."""

STEP: Final = 100
MAX_DEPTH: Final = 64
"""How deeply macros and recursive loops call each other, and lists and objects lie in one another."""

MAX_INTEGER_BITS: Final = 256
MAX_DIGITS: Final = 1_000
"""The longest text that is read as a number: beyond a few thousand digits Python's own settings decide."""

MAX_WIDTH: Final = 1_000
"""The widest field of a format, and the largest number that sets up a filter."""

VIEWS: Final[tuple[type[Any], ...]] = (type({}.keys()), type({}.values()), type({}.items()))
_CONTAINERS: Final[tuple[type[Any], ...]] = (dict, list, tuple, *VIEWS)
_SIZED: Final[tuple[type[Any], ...]] = (str, range, *_CONTAINERS)


def names(words: str) -> frozenset[str]:
    """Return a list of names as a set."""
    return frozenset(words.split())


class Meter:
    """The budget of one rendering."""

    def __init__(self) -> None:
        self._left = MAX_WORK

    def charge(self, units: int) -> None:
        """Take from the budget; refuse where it is used up."""
        self._left -= units
        if self._left < 0:
            raise PipelineError(
                f"the model's chat template has not ended after {MAX_WORK} units of work (protocol T5): it "
                "loops without end, or the conversation is too long for it"
            )

    def tick(self, units: int) -> bool:
        """Charge, and be true: for conditions."""
        self.charge(units)
        return True

    def shallow(self, value: Any) -> Any:
        """Charge for the items or characters of a value, and return it."""
        if isinstance(value, _SIZED):
            self.charge(len(value))
        return value

    def weigh(self, value: Any) -> int:
        """Charge for everything in a value; refuse what has no text that is the same on every machine.

        Returns
        -------
        int
            What was charged: no text that stands for the value has more than some ten times as many characters.
        """
        before = self._left
        waiting = [(value, 0)]
        while waiting:
            item, depth = waiting.pop()
            if isinstance(item, str):
                self.charge(10 + len(item))
            elif isinstance(item, _CONTAINERS):
                self.charge(40 + 40 * len(item))
                if depth == MAX_DEPTH:
                    raise PipelineError(f"the model's chat template nests values more than {MAX_DEPTH} deep")
                waiting.extend((inner, depth + 1) for inner in item)
                if isinstance(item, dict):
                    waiting.extend((inner, depth + 1) for inner in item.values())
            elif item is None or isinstance(item, int | float):
                self.charge(10)
            elif isinstance(item, range):
                self.charge(10 + len(item))
            elif isinstance(item, Undefined):
                self.charge(10)
                if item._undefined_exception is SecurityError:
                    item._fail_with_undefined_error()
            else:
                refuse(item)
        return before - self._left

    def weighed(self, value: Any) -> Any:
        """Weigh a value, and return it."""
        self.weigh(value)
        return value

    def made(self, value: Any) -> Any:
        """Return what an operation gave; refuse what is too large, and keep iterators from being written."""
        if isinstance(value, str):
            check_length(len(value))
        elif isinstance(value, int) and value.bit_length() > MAX_INTEGER_BITS:
            raise PipelineError(f"the model's chat template makes an integer of more than {MAX_INTEGER_BITS} bits")
        elif isinstance(value, Iterator) and not isinstance(value, Stream | LoopContext):
            return Stream(self, value)
        return value


def check_length(characters: int) -> None:
    """Refuse a text that is too long, before it is made where that can be foretold."""
    if characters > MAX_TEXT:
        raise PipelineError(f"the model's chat template writes a text of {characters} characters, more than {MAX_TEXT}")


def refuse(value: object) -> NoReturn:
    """Refuse to turn something into text, or to compare it."""
    raise PipelineError(
        f"the model's chat template writes or compares a {type(value).__name__.lower()}, which has no value that is "
        "the same on every node"
    )


class _Opaque:
    """What can be used in one way only, and never written."""

    __slots__ = ()

    def __repr__(self) -> str:
        refuse(self)

    def __hash__(self) -> int:
        refuse(self)

    def __format__(self, form: str) -> str:
        refuse(self)


class Function(_Opaque):
    """A function or a method, to be called."""

    __slots__ = ("_call",)

    def __init__(self, call: Callable[..., Any]) -> None:
        self._call = call

    def __call__(self, *args: Any, **settings: Any) -> Any:
        return self._call(*args, **settings)


class Stream(_Opaque):
    """An iterator, to be gone through; each item is paid for."""

    __slots__ = ("_items", "_meter")

    def __init__(self, meter: Meter, items: Iterator[Any]) -> None:
        self._meter = meter
        self._items = items

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        self._meter.charge(STEP)
        return next(self._items)


class TemplateNamespace(Namespace):
    """A namespace without names that start with an underscore, as in transformers."""

    def __init__(*args: Any, **fields: Any) -> None:
        self, given = args[0], dict(*args[1:], **fields)
        Namespace.__init__(self)
        for name, value in given.items():
            self[name] = value

    def __setitem__(self, name: str, value: Any) -> None:
        if name.startswith("_"):
            raise SecurityError(f"a namespace has no name like {name!r}")
        Namespace.__setitem__(self, name, value)


CALLABLE: Final = (Function, Macro, LoopContext, BlockReference, Joiner)
HELD: Final[tuple[type[Any], ...]] = (
    str, int, float, type(None), list, tuple, dict, *VIEWS, range, Undefined, Namespace, TemplateReference, Cycler,
    Stream, *CALLABLE,
)  # fmt: skip
"""What a template may hold at all."""

_METHODS: Final[Mapping[type, frozenset[str]]] = {
    str: names(
        "capitalize casefold center count endswith find format index isalnum isalpha isascii isdecimal isdigit "
        "isidentifier islower isnumeric isprintable isspace istitle isupper join ljust lower lstrip partition "
        "removeprefix removesuffix replace rfind rindex rjust rpartition rsplit rstrip split splitlines startswith "
        "strip swapcase title upper zfill"
    ),
    list: names("copy count index"),
    tuple: names("count index"),
    dict: names("copy get items keys values"),
    float: names("is_integer"),
    LoopContext: names("cycle changed"),
    Cycler: names("next reset"),
}
"""The methods of each kind that a template may call: those whose result follows from what they are given."""


def held(meter: Meter, owner: Any, name: object, value: Any) -> Any:
    """Return an attribute or an item as a template may hold it."""
    if isinstance(value, Undefined) and isinstance(name, str) and name.startswith("__"):
        raise SecurityError(f"{name!r} of a {type(owner).__name__} does not exist here")
    if isinstance(value, HELD):
        return value
    kind = next((kind for kind in _METHODS if isinstance(owner, kind)), None)
    if kind is None or name not in _METHODS[kind]:
        raise SecurityError(f"{name!r} of a {type(owner).__name__} does not exist here")

    def call(*args: Any, **settings: Any) -> Any:
        _pay(meter, owner, str(name), args, settings)
        if name == "format" and isinstance(owner, str):
            return meter.made(type(owner)(_Fields(meter).vformat(owner, args, settings)))
        if name == "join" and isinstance(owner, str):
            return meter.made(owner.join(joined(meter, owner, *args, **settings)))
        return meter.made(value(*args, **settings))

    return Function(call)


def _pay(meter: Meter, owner: Any, name: str, args: tuple[Any, ...], settings: Mapping[str, Any]) -> None:
    """Charge for a call of a method before it is made; refuse one whose text would be too long."""
    meter.charge(STEP)
    meter.shallow(owner)
    for value in (*args, *settings.values()):
        meter.shallow(value)
    if (isinstance(owner, list | tuple) and name in ("count", "index")) or name == "changed":
        meter.weigh([owner if isinstance(owner, list | tuple) else (), *args])
    if not isinstance(owner, str):
        return
    if name in ("center", "ljust", "rjust", "zfill"):
        check_length(next((value for value in args if isinstance(value, int)), 0))
    elif name == "format":
        meter.charge(owner.count("{") * (STEP + meter.weigh([args, dict(settings)])))
    elif name == "replace" and len(args) >= 2 and isinstance(args[0], str) and isinstance(args[1], str):
        check_replaced(owner, args[0], args[1])


def check_replaced(text: str, old: str, new: str) -> None:
    """Refuse a replacement that gives too long a text."""
    times = text.count(old) if old else len(text) + 1
    check_length(len(text) + times * (len(new) - len(old)))


def joined(meter: Meter, separator: str, items: Iterable[Any]) -> list[Any]:
    """Return what is to be joined, paid for; refuse too long a text."""
    found = list(items)
    meter.weigh(found)
    length = len(separator) * len(found) + sum(len(item) for item in found if isinstance(item, str))
    meter.charge(length)
    check_length(length)
    return found


_WIDTH: Final = re.compile(r"%(?:\([^)]*\))?[#0\- +]*([0-9]+|\*)?(?:\.([0-9]+|\*))?")


def check_percent(form: str) -> None:
    """Refuse a %-format that makes a text from nothing but its width."""
    for found in _WIDTH.finditer(form):
        for width in found.groups():
            if width == "*" or (width and (len(width) > 4 or int(width) > MAX_WIDTH)):
                raise PipelineError(
                    f"the model's chat template asks for the format {found.group()!r}; expected a width of at most "
                    f"{MAX_WIDTH}"
                )


class _Fields(Formatter):
    """``str.format`` for templates: no attributes or items of what is given, no language's own way to write numbers."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter

    def get_field(self, field_name: str, args: Any, kwargs: Any) -> Any:
        if "." in field_name or "[" in field_name:
            raise SecurityError(f"a format has no field like {field_name!r}; look it up before")
        return super().get_field(field_name, args, kwargs)

    def format_field(self, value: Any, format_spec: str) -> Any:
        widths = re.findall(r"[0-9]+", format_spec)
        if format_spec.endswith("n") or any(len(width) > 4 or int(width) > MAX_WIDTH for width in widths):
            raise PipelineError(
                f"the model's chat template asks for the format {format_spec!r}; expected a width of at most "
                f"{MAX_WIDTH}, and not 'n', which follows the machine's language"
            )
        return super().format_field(value, format_spec)
