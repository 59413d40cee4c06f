"""The tables of docs/measurements/chance.md, in Markdown."""

import math
from collections.abc import Iterator
from typing import Final

from benchmarks.photographs.counting import Counts, count, most_of_one_part, upper_end
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
        most = " and ".join(f"{most_of_one_part(record, name, at):.2%} below {at}" for at in (16, 24))
        yield f"- `{name}`: {plain[-1]} of {len(parts):,} parts have a degenerate hash."
        yield f"  The part that agrees most often agrees with {most} of the others."
    yield ""
    yield from table(record, degenerate=True)
    if any(plain):
        yield "\nWithout degenerate hashes:\n"
        yield from table(record, degenerate=False)


def table(record: Record, *, degenerate: bool) -> Iterator[str]:
    """One row for each threshold: for each hash the pairs below it with their share, and what bounds it."""
    counts = {name: count(record, name, degenerate=degenerate) for name in IMAGE_ALGORITHMS}
    heads = (f"`{name}`: of {each.pairs:,} pairs | exact, n = {each.pictures:,} | resampled | alike pictures"
             for name, each in counts.items())  # fmt: skip
    yield f"| distance below | {' | '.join(heads)} |"
    yield "|---" * (1 + 4 * len(counts)) + "|"
    for at in THRESHOLDS:
        yield f"| {at} | {' | '.join(_cells(each, at) for each in counts.values())} |"


def _cells(counts: Counts, at: int) -> str:
    ends = (*counts.interval(at), *counts.resampled[:, at], counts.alike(at))
    low, high, least, most, widest = (f"{end:.2g}" if end > TINY else "0" for end in ends)
    share = f"{counts.below[at]:,}" + (f": {counts.rate(at):.2g}" if counts.below[at] else "")
    again = f"{least} to {most}" if counts.below[at] else "-"  # what was never seen cannot be drawn again
    return f"{share} | {low} to {high} | {again} | {widest if counts.rate(at) <= 0.5 else '-'}"
