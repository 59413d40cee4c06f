"""What was seen, as Markdown."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from benchmarks.divergence.records import Beside, Measurements


def tables(seen: Measurements) -> str:
    """The tables of the kinds, of margins and entropy, and of the copies."""
    return "\n\n".join((kinds(seen), margins(seen), copies(seen)))


def kinds(seen: Measurements) -> str:
    """Where honest machines of other kinds part from the native kind; kinds with equal rows share one."""
    head = ("way", "kind, beside native", "texts that part", *_FIRST, *_APART)
    rows = []
    for way in seen.native:
        alike: dict[tuple[str, ...], list[str]] = {}
        for kind, found in seen.kinds.items():
            alike.setdefault((_parted(found[way]), *_first(found[way]), *_apart(found[way])), []).append(kind)
        rows += [(way, ", ".join(f"`{name}`" for name in names), *cells) for cells, names in alike.items()]
    return table(head, rows)


def margins(seen: Measurements) -> str:
    """How far the second best token was behind, and the entropy, where kinds part and at all other tokens."""
    quantiles = ("5%", "median", "95%")
    head = ("way", "native's tokens", "number", *_named("margin", quantiles), "largest", *_named("entropy", quantiles))
    rows = []
    for way in seen.native:
        for where, margin, entropy in places(seen, way):
            cells = (*_quantiles(margin, 0.05, 0.5, 0.95, 1), *_quantiles(entropy, 0.05, 0.5, 0.95))
            rows.append((way, where, f"{len(margin):,}", *cells))
    return table(head, rows)


def copies(seen: Measurements) -> str:
    """Where copies of the model part from it, on the native kind."""
    head = ("way", "copy, beside the model", "texts that part", "first token right", *_FIRST, *_APART)
    rows = []
    for way in seen.native:
        for copy, ways in seen.copies.items():
            found = ways[way]
            right = sum(text.first != 0 for text in found)
            rows.append((way, copy, _parted(found), f"{right} of {len(found)}", *_first(found), *_apart(found)))
    return table(head, rows)


def places(seen: Measurements, way: str) -> Iterator[tuple[str, list[float], list[float]]]:
    """Yield margins and entropies of the tokens at which some kind parts from the native one, and of all others."""
    parting = {
        (number, text.first)
        for ways in seen.kinds.values()
        for number, text in enumerate(ways[way])
        if text.first is not None
    }
    for where, parts in (("where kinds part", True), ("elsewhere", False)):
        at = [
            (number, token)
            for number, text in enumerate(seen.native[way])
            for token in range(len(text.margins))
            if ((number, token) in parting) == parts
        ]
        texts = seen.native[way]
        yield (
            where,
            [texts[number].margins[token] for number, token in at],
            [texts[number].entropies[token] for number, token in at],
        )


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


_FIRST = ("first differing token: earliest", "25%", "median", "75%")
_APART = ("logits apart by, median of texts", "at most")


def _named(name: str, columns: Sequence[str]) -> tuple[str, ...]:
    return (f"{name}: {columns[0]}", *columns[1:])


def _parted(found: Sequence[Beside]) -> str:
    return f"{sum(text.first is not None for text in found)} of {len(found)}"


def _first(found: Sequence[Beside]) -> tuple[str, ...]:
    """Of those that part: the first token that differs, counted from 0."""
    return _quantiles([text.first for text in found if text.first is not None], 0, 0.25, 0.5, 0.75)


def _apart(found: Sequence[Beside]) -> tuple[str, ...]:
    return _quantiles([text.apart for text in found], 0.5, 1)


def _quantiles(values: Sequence[float], *at: float) -> tuple[str, ...]:
    """Quantiles that are values themselves: of an even number the lower of the two in the middle."""
    if not values:
        return ("-",) * len(at)
    return tuple(f"{value:.3g}" for value in np.quantile(values, at, method="inverted_cdf"))


def share_parted(found: Sequence[Beside], tokens: int) -> list[float]:
    """The share of texts that differ within the first n tokens, for n from 0 to all of them."""
    first = np.array([tokens if text.first is None else text.first for text in found])
    return [float((first < within).mean()) for within in range(tokens + 1)]


def parting_kinds(seen: Measurements) -> Mapping[str, dict[str, list[Beside]]]:
    """The kinds of which any text parts."""
    return {
        kind: ways
        for kind, ways in seen.kinds.items()
        if any(text.first is not None for found in ways.values() for text in found)
    }
