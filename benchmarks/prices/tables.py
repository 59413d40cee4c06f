"""What was seen, as Markdown."""

import math
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Any, Final

from benchmarks.prices import alone, exact
from crynux_validate import Policy

Record = Mapping[str, Any]

SHARES: Final = (Fraction(1, 20), Fraction(1, 10), Fraction(3, 20), Fraction(1, 5))

RARE: Final = 0.01
"""A moment that fewer attacks find is not reported: its numbers are chance."""


def of(by_themselves: Sequence[Record], one_round: Sequence[Record], chosen: Sequence[Record]) -> str:
    """All tables."""
    parts = (ways(by_themselves), worst(by_themselves), together(one_round), moments(chosen), inequality())
    return "\n\n".join(parts)


def ways(found: Iterable[Record]) -> str:
    """What each way to behave that burns anything burns and costs, in groups of three from equal nodes."""
    rows = [
        (record["way"], f"{record['burnt']:.3f}", f"{record['cost']:.3f}", _ratio(record))
        for record in found
        if (record["pool"], record["size"], record["fee"]) == ("equal", 3, max(alone.FEES)) and record["burnt"]
    ]
    return _table(("way", "burnt", "cost", "burnt for 1 of cost"), rows)


def worst(found: Sequence[Record]) -> str:
    """The way that burns most for its cost, in each pool."""
    rows = []
    for pool in dict.fromkeys(record["pool"] for record in found):
        for fee in alone.FEES:
            cells = []
            for size in alone.SIZES:
                here = [one for one in found if (one["pool"], one["fee"], one["size"]) == (pool, fee, size)]
                cells.append(_ratio(max(here, key=_burnt_for_cost)))
            rows.append((pool, f"{fee:,}", *cells))
    return _table(("pool", "fee, of the least", *(f"n = {size}" for size in alone.SIZES)), rows)


def together(found: Iterable[Record]) -> str:
    """Groups of one round beside one that is drawn alone."""
    rows = [
        (
            record["pool"],
            f"{record['alone']:.4f}",
            f"{record['together']:.4f}",
            f"{record['last']:.4f}",
            f"{record['sigma']:+.1f}",
        )
        for record in found
    ]
    return _table(("pool", "alone", "one of 20 in a round", "the last of the 20", "difference, in sigma"), rows)


def moments(found: Sequence[Record]) -> str:
    """The moment at which dear groups burn most for their cost, and in brackets dear groups from the start."""
    keys = ("pool", "slash_per_fee", "min_pool_ppm", "no_quorum_ppm")
    rows = []
    for setting in dict.fromkeys(tuple(record[key] for key in keys) for record in found):
        cells, sigmas = [], []
        for size in alone.SIZES:
            here = [one for one in found if (*(one[key] for key in keys), one["size"]) == (*setting, size)]
            often = [one for one in here if one["used"] >= RARE]
            cells.append(f"{_ratio(max(often, key=_burnt_for_cost))} ({_ratio(here[0])})")
            sigmas += [(one["burnt"] - one["cost"]) / one["error"] for one in often if one["error"]]
        pool, slash, least, burn = setting
        rows.append((pool, f"{slash}; {least:,}; {burn:,}", *cells, f"{max(sigmas, default=0):+.1f}"))
    head = ("pool", "`slash_per_fee`; `min_pool_ppm`; `no_quorum_ppm`", *(f"n = {size}" for size in alone.SIZES))
    return _table((*head, "burnt - cost, at most, in sigma"), rows)


def inequality() -> str:
    """What a coalition burns for 1 of cost, and the largest `slash_per_fee` that keeps it below 1."""
    rows = []
    for share in SHARES:
        cells = []
        for size in alone.SIZES:
            policy = Policy(group_size=size)
            largest = exact.largest_slash(size, share, Fraction(policy.no_quorum_ppm, 1_000_000))
            cells.append(f"{float((policy.slash_per_fee or 0) / largest):.2g} ({float(largest):.3g})")
        rows.append((f"{float(share):.0%}", *cells))
    return _table(("share of the weight", *(f"n = {size}" for size in alone.SIZES)), rows)


def _burnt_for_cost(record: Record) -> float:
    if record["cost"]:
        return float(record["burnt"] / record["cost"])
    return math.inf if record["burnt"] else 0.0


def _ratio(record: Record) -> str:
    return f"{_burnt_for_cost(record):.2g}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
