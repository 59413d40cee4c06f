"""Read-only values that can be pickled."""

from collections.abc import ItemsView, Iterator, Mapping
from types import NoneType
from typing import Any, Final, TypeVar

K = TypeVar("K")
V = TypeVar("V")
T = TypeVar("T")


class FrozenMapping(Mapping[K, V]):
    """A read-only copy of a mapping; unlike ``types.MappingProxyType`` it can be pickled."""

    __slots__ = ("_items",)

    def __init__(self, items: Mapping[K, V] | None = None) -> None:
        self._items = dict(items or {})

    def __getitem__(self, key: K) -> V:
        return self._items[key]

    def __contains__(self, key: object) -> bool:
        return key in self._items

    def __iter__(self) -> Iterator[K]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def items(self) -> ItemsView[K, V]:
        """Return the dictionary's own view, which is much faster than that of `Mapping`."""
        return self._items.items()

    def __repr__(self) -> str:
        return repr(self._items)


def replace(record: T, **changes: object) -> T:
    """Return a copy of a dataclass's object with other values, a few times faster than ``dataclasses.replace``.

    The values are not checked. Only for records without ``__post_init__`` and cached properties.
    """
    copy = object.__new__(type(record))
    vars(copy).update(vars(record), **changes)
    return copy


_SCALARS: Final = frozenset({str, int, bool, NoneType, float})


def freeze(value: Any) -> Any:
    """Copy JSON values so that nothing in them can be changed: objects as `FrozenMapping`, lists as tuples."""
    if type(value) in _SCALARS:
        return value
    if isinstance(value, Mapping):
        return FrozenMapping({key: freeze(item) for key, item in value.items()})
    return tuple(freeze(item) for item in value) if isinstance(value, list | tuple) else value


def thaw(value: Any) -> Any:
    """Copy what `freeze` made into dictionaries and lists."""
    if type(value) in _SCALARS:
        return value
    if isinstance(value, Mapping):
        return {key: thaw(item) for key, item in value.items()}
    return [thaw(item) for item in value] if isinstance(value, list | tuple) else value
