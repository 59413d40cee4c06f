"""Where texts part, and how sure that is: what the benchmarks of cards share."""

import json
from collections.abc import Mapping, Sequence
from itertools import combinations
from math import comb
from pathlib import Path
from typing import Any, Final

import numpy as np

COLUMNS: Final = ("texts that part", "95% interval", "first differing token: earliest", "25%", "median", "75%")


def read(file: Path) -> list[dict[str, Any]]:
    """What was written, a line of JSON each; a last line that was cut off is taken away."""
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True) if file.exists() else []
    if lines and not lines[-1].endswith("\n"):
        file.write_text("".join(lines[:-1]), encoding="utf-8")
        lines.pop()
    return [json.loads(line) for line in lines]


def write(file: Path, found: Mapping[str, Any]) -> None:
    """Add a line."""
    with file.open("a", encoding="utf-8") as lines:
        print(json.dumps(found), file=lines)


def pairs(cards: Sequence[str]) -> list[str]:
    """Each card with each that follows it: ``one, other``."""
    return [", ".join(pair) for pair in combinations(cards, 2)]


def texts_beside(one: Any, other: Any) -> dict[str, Any]:
    """The first token at which two results of text differ, counted from 0; None where they are equal."""
    tokens = enumerate(zip(one.token_ids[0], other.token_ids[0], strict=True))
    return {"first": next((at for at, (a, b) in tokens if a != b), None)}


def first_tokens(found: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """The cells of `COLUMNS`. Quantiles are of the texts that part, and values themselves."""
    first = [one["first"] for one in found if one["first"] is not None]
    low, high = interval(len(first), len(found))
    at = np.quantile(first, (0, 0.25, 0.5, 0.75), method="inverted_cdf") if first else ("-",) * 4
    return (f"{len(first)} of {len(found)}", f"{low:.0%} to {high:.0%}", *(str(token) for token in at))


def interval(hits: int, number: int) -> tuple[float, float]:
    """The exact interval of Clopper and Pearson at 95% for a chance that was seen in so many of a number of tries."""
    low = 0.0 if hits == 0 else _solved(lambda chance: 1 - _at_most(hits - 1, number, chance) < 0.025)
    high = 1.0 if hits == number else _solved(lambda chance: _at_most(hits, number, chance) > 0.025)
    return low, high


def _at_most(hits: int, number: int, chance: float) -> float:
    return sum(comb(number, k) * chance**k * (1 - chance) ** (number - k) for k in range(hits + 1))


def _solved(below: Any) -> float:
    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if below(middle) else (low, middle)
    return low
