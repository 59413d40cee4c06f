"""How the time of each reader of strangers' bytes grows with the input: ``python -m benchmarks.readers``.

For each way to be slow the input doubles from 64 KiB to the most that the reader takes, or `LARGEST`. The last columns
are factors of a doubling: the mean over all sizes, and the largest. 2 is linear, 4 is quadratic; where a mean is above
2.5 the command ends with 1. Times are of the processor, without Python's garbage collector, whose full collections fall
on some sizes and not on others; those below a millisecond are left out of the factors. A factor above 2.5 is measured
again, three times at most: other work on the machine slows one size and not the next.
"""

import argparse
import gc
import itertools
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Final

from tests.fuzz.readers import READERS, Reader
from tests.test_readers import HOSTILE

import crynux_validate as cv

SMALLEST: Final = 64 * 2**10
LARGEST: Final = 8 * 2**20
FLOOR: Final = 0.001
FACTOR: Final = 2.5
REPEATS: Final = 5
TRIES: Final = 4
MARGIN: Final = 256
"""How many bytes a made input may be longer than it was asked for."""


def grown(seed: bytes, size: int) -> Iterator[tuple[str, bytes]]:
    """A valid input made larger: its longest part repeated where it stands, and bytes appended."""
    half = len(seed) // 2
    yield "its middle repeated", seed[:half] + seed[half : half + 16] * (size // 16) + seed[half:]
    yield "spaces after it", seed + b" " * size
    yield "itself repeated", seed * (size // len(seed) + 1)


def inputs(reader: Reader) -> dict[str, Callable[[int], bytes]]:
    """The ways to be slow that are tried on a reader."""
    seed = reader.seeds()[0]
    ways: dict[str, Callable[[int], bytes]] = {}
    for at, (what, _) in enumerate(grown(seed, SMALLEST)):

        def make(size: int, at: int = at) -> bytes:
            return next(itertools.islice(grown(seed, size), at, None))[1]

        ways[what] = make
    return {**ways, **HOSTILE} if reader.structured else ways


def seconds(reader: Reader, data: bytes) -> float:
    """The shortest time of a few readings, whatever comes of them."""
    best = float("inf")
    for _ in range(REPEATS):
        began = time.process_time()
        with suppress(cv.CrynuxValidateError):
            reader.read(data)
        best = min(best, time.process_time() - began)
    return best


def measured(reader: Reader, make: Callable[[int], bytes], sizes: list[int]) -> tuple[float, float, float]:
    """The time of the largest input, and the mean and the largest factor, 0 where all times are too short for one."""
    inputs = [make(size - MARGIN) for size in sizes]
    times = [seconds(reader, data) for data in inputs]
    for at in range(1, len(times)):
        for _ in range(TRIES - 1):
            if times[at] <= FACTOR * times[at - 1]:
                break
            times[at] = min(times[at], seconds(reader, inputs[at]))
    steps = [after / before for before, after in itertools.pairwise(times) if before > FLOOR]
    return times[-1], statistics.geometric_mean(steps) if steps else 0.0, max(steps, default=0.0)


def main() -> int:
    """Print a row for each reader, of its slowest way; 1 where a time grows too fast."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.readers", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=READERS, default=list(READERS), metavar="READER")
    arguments = parser.parse_args()
    gc.disable()
    worst = 0.0
    print("| reader | slowest way | size | ms | mean factor | largest |\n|---|---|---|---|---|---|")
    for name in arguments.only:
        reader = READERS[name]
        largest = min(reader.limit, LARGEST)
        sizes = (
            [size for size in (SMALLEST << at for at in range(20)) if size <= max(largest, SMALLEST)]
            if largest > SMALLEST
            else [largest]
        )
        slowest, row, mean, largest_factor = 0.0, "", 0.0, 0.0
        for what, make in inputs(reader).items():
            took, grew, most = measured(reader, make, sizes)
            mean, largest_factor = max(mean, grew), max(largest_factor, most)
            if took > slowest:
                slowest, row = took, f"{what} | {sizes[-1] // 1024:,} KiB | {1_000 * took:.1f}"
        factors = f"{mean:.2f} | {largest_factor:.2f}" if mean else "all below 1 ms | "
        print(f"| {name} | {row} | {factors} |", flush=True)
        worst = max(worst, mean)
    return 0 if worst <= FACTOR else 1


if __name__ == "__main__":
    sys.exit(main())
