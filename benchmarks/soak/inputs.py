"""Damaged inputs for every reader of strangers' bytes, by number: what was done is noted, to go on from there."""

import json
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Final

from tests.fuzz.damage import damaged
from tests.fuzz.readers import READERS

PORTION: Final = 5_000
"""How many inputs a process reads before it is noted that they were."""


def read_damaged(count: int, notes: Path | None, processes: int = 2) -> Iterator[tuple[str, str]]:
    """Give each reader that many inputs, and say of each how many it read and how many it refused.

    Parameters
    ----------
    count
        How many for each reader; the numbers 0 to `count` - 1.
    notes
        A file that says how far each reader is, written after each portion; what it says was done is not done again.
    """
    done: dict[str, list[int]] = {}
    if notes is not None and notes.exists():
        done = json.loads(notes.read_text("utf-8"))
    with ProcessPoolExecutor(processes) as pool:
        for name in READERS:
            first, read = done.get(name, [0, 0])
            starts = range(first, count, PORTION)
            ends = [min(start + PORTION, count) for start in starts]
            for end, found in zip(ends, pool.map(_portion, [name] * len(ends), starts, ends), strict=True):
                read += found
                done[name] = [end, read]
                if notes is not None:
                    notes.write_text(json.dumps(done), "utf-8")
            total = max(first, count)
            yield f"{name}: {total:,} damaged inputs", f"{read:,} read, {total - read:,} refused with an error of ours"


def _portion(name: str, first: int, end: int) -> int:
    reader = READERS[name]
    seeds = reader.seeds()
    read = 0
    for number in range(first, end):
        data = damaged(seeds, number, structured=reader.structured)
        try:
            read += reader.check(data)
        except BaseException as error:
            raise AssertionError(f"{name}, input {number}, {data[:300]!r}: {error!r}") from error
    return read
