"""How fast pairs are counted, and whether what was killed goes on: ``python -m benchmarks.calibration``.

Unrelated pictures are random hashes, a few of them degenerate. ``--pairs`` says how many pairs; 1e10 takes minutes.
``--kill`` starts the same work in a process that is killed again and again, and compares what comes out.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from crynux_validate.calibration import Samples, calibrate
from crynux_validate.calibration.table import classes_of, pictures_of
from crynux_validate.calibration.unrelated import PairCounts, count_unrelated

MOST_WITH_HONEST = 1e7
"""Up to so many pairs honest answers are made as well: their names take memory here."""


def pictures(count: int) -> Samples:
    """Unrelated pictures."""
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 2**64 - 1, count, np.uint64)
    hashes[::100] = np.uint64(0xFFFF)
    return Samples.from_columns(
        algorithm="phash/1",
        hashes=hashes,
        task=[f"photo-{at}" for at in range(count)],
        role="unrelated",
        margin=rng.random(count),
    )


def count(samples: Samples, state: Path | None = None) -> PairCounts:
    """Count all pairs; tells the progress."""
    return count_unrelated(
        samples.hashes,
        pictures_of(samples),
        classes_of(samples, (0.01, 0.05, 0.1)),
        state=state,
        on_progress=lambda done, total: print(f"  {done:.3g} of {total:.3g} pairs", file=sys.stderr),
    )


def honest(tasks: int, kinds: int) -> Samples:
    """Honest answers, most of them equal."""
    rng = np.random.default_rng(1)
    base = rng.integers(0, 2**64 - 1, tasks, np.uint64)
    noise = rng.integers(0, 4, (kinds, tasks), np.uint64)
    noise[rng.random((kinds, tasks)) > 0.1] = 0
    names = [f"task-{at}" for at in range(tasks)]
    return Samples.from_columns(
        algorithm="phash/1",
        hashes=(base ^ noise).reshape(-1),
        task=names * kinds,
        kind=[f"kind-{at}" for at in range(kinds) for _ in range(tasks)],
        model="m",
        role="honest",
    )


def killed(samples: Samples, folder: Path, times: int) -> PairCounts:
    """Count in processes that are killed after a while each, the last one not."""
    state = folder / "state"
    command = [sys.executable, "-m", "benchmarks.calibration", "--count", str(len(samples)), "--state", str(state)]
    for at in range(times):
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
            seen = state.stat().st_mtime_ns if state.exists() else 0
            while process.poll() is None and (not state.exists() or state.stat().st_mtime_ns == seen):
                time.sleep(0.01)
            process.kill()
        print(f"  killed {at + 1} times, {state.stat().st_size:,} bytes of state")
    return count(samples, state)


def main() -> None:
    """Print what was measured."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pairs", type=float, default=1e8)
    parser.add_argument("--kill", type=int, default=0, metavar="TIMES")
    parser.add_argument("--count", type=int, help="only count the pairs of so many pictures")
    parser.add_argument("--state", type=Path)
    arguments = parser.parse_args()
    if arguments.count:
        count(pictures(arguments.count), arguments.state)
        return
    samples = pictures(round((2 * arguments.pairs) ** 0.5))
    started, processor = time.perf_counter(), time.process_time()
    whole = count(samples)
    print(
        f"{whole.pairs:.3g} pairs of {len(samples):,} unrelated pictures: {time.perf_counter() - started:.1f} s,"
        f" {time.process_time() - processor:.1f} s of a processor"
    )
    if arguments.kill:
        with tempfile.TemporaryDirectory() as folder:
            again = killed(samples, Path(folder), arguments.kill)
        same = all(np.array_equal(value, getattr(again, name)) for name, value in vars(whole).items())
        print(f"the same after having been killed {arguments.kill} times: {same}")
    if arguments.pairs <= MOST_WITH_HONEST:
        kinds = 20
        samples += honest(round(arguments.pairs / (kinds * (kinds - 1) // 2)), kinds)
        started, processor = time.perf_counter(), time.process_time()
        found = calibrate(samples)
        print(
            f"all of calibrate, with {found.left_out[0].pairs:.3g} pairs of {kinds} kinds and"
            f" {found.pictures['honest']:,} pictures: {time.perf_counter() - started:.1f} s,"
            f" {time.process_time() - processor:.1f} s of a processor"
        )
    print(f"most memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10:.0f} MiB")


if __name__ == "__main__":
    main()
