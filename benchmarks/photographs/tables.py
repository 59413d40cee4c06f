"""The tables of docs/measurements.md, in Markdown."""

import math
from collections.abc import Iterator
from typing import Final

from benchmarks.photographs.counting import Counts, count, upper_end
from benchmarks.photographs.record import Record
from crynux_validate.algorithms import HASH_BITS, IMAGE_ALGORITHMS
from crynux_validate.hashing import is_degenerate

THRESHOLDS: Final = (2, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 28, 32, 36, 40)
TINY: Final = 1e-9
"""A lower end below this is written as 0."""

DIGITS: Final = 5
"""Decimals of the built-in chance of agreement, which is rounded up."""


def rounded_up(value: float) -> str:
    """Write a chance with `DIGITS` decimals, never smaller than it is."""
    return f"{min(1.0, math.ceil(value * 10**DIGITS) / 10**DIGITS):.{DIGITS}f}"


def upper_ends(record: Record) -> list[str]:
    """Upper ends below 2, 4, ..., 64, the larger of both hashes; `crynux_validate.stakes` has those of photographs.

    Parts with degenerate hashes count, because two of them that agree are as valid as any other two.
    """
    counts = [count(record, name, degenerate=True) for name in IMAGE_ALGORITHMS]
    return [rounded_up(upper_end(counts, at)) for at in range(2, HASH_BITS + 2, 2)]


def tables(record: Record) -> Iterator[str]:
    """Return the lines: how many hashes are degenerate, a table of all, and one without these if there are any."""
    plain = []
    for name in IMAGE_ALGORITHMS:
        parts = [bytes.fromhex(bits) for hashed in record.pictures for bits in hashed.hashes[name]]
        plain.append(sum(map(is_degenerate, parts)))
        yield f"- `{name}`: {plain[-1]} of {len(parts):,} parts have a degenerate hash."
    yield ""
    yield from table(record, degenerate=True)
    if any(plain):
        yield "\nWithout degenerate hashes:\n"
        yield from table(record, degenerate=False)


def table(record: Record, *, degenerate: bool) -> Iterator[str]:
    """One row for each threshold: for each hash the pairs below it with their share, and both intervals."""
    counts = {name: count(record, name, degenerate=degenerate) for name in IMAGE_ALGORITHMS}
    heads = (f"`{name}`: of {each.pairs:,} pairs | exact, n = {each.pictures:,} | resampled"
             for name, each in counts.items())  # fmt: skip
    yield f"| distance below | {' | '.join(heads)} |"
    yield "|---" * (1 + 3 * len(counts)) + "|"
    for at in THRESHOLDS:
        yield f"| {at} | {' | '.join(_cells(each, at) for each in counts.values())} |"


def _cells(counts: Counts, at: int) -> str:
    if not (below := counts.below[at]):
        return f"0 | 0 to {counts.interval(at)[1]:.2g} | -"  # what was never seen cannot be drawn again
    ends = (*counts.interval(at), *counts.resampled[:, at])
    low, high, least, most = (f"{end:.2g}" if end > TINY else "0" for end in ends)
    return f"{below:,}: {counts.rate(at):.2g} | {low} to {high} | {least} to {most}"
