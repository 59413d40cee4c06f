"""What the benchmarks of hashing share: turns that are fair to each, and peers, skipped where they are missing."""

import importlib
import json
import os
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import pytest

RECORD: Final = "CRYNUX_VALIDATE_BENCHMARK_RECORD"
"""Names the file that `report` adds to, where somebody wants it."""


def medians(functions: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median seconds of each; they take turns, so that what else the machine does meets all of them alike."""
    names = list(functions)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(rounds):
        for position in range(len(names)):
            name = names[(turn + position) % len(names)]
            start = time.perf_counter()
            functions[name]()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(of_one) for name, of_one in seconds.items()}


def report(capsys: pytest.CaptureFixture[str], title: str, times: Mapping[str, float], to: str) -> None:
    """Print the times, and each as a multiple of one of them; write them down for `benchmarks.table`."""
    if RECORD in os.environ:
        with Path(os.environ[RECORD]).open("a", encoding="utf-8") as file:
            file.write(json.dumps({"title": title, "times": dict(times), "to": to}) + "\n")
    with capsys.disabled():
        print(f"\n{title}")
        for name, seconds in times.items():
            print(f"  {name:34} {seconds * 1e6:12,.1f} us   {seconds / times[to]:10.3f} of {to}")


def peer(module: str, package: str) -> Any:
    """Return a peer's module, or skip the test and say what to install."""
    try:
        return importlib.import_module(module)
    except ImportError:
        pytest.skip(f"the peer {module} is not installed: pip install {package}, or the extra 'bench'")
