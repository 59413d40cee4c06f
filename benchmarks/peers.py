"""What the benchmarks of hashing share: turns that are fair to each, and peers, skipped where they are missing."""

import importlib
import json
import os
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

RECORD: Final = "CRYNUX_VALIDATE_BENCHMARK_RECORD"
"""Names the file that `report` adds to, where somebody wants it."""

INTERPRETER: Final = "CRYNUX_VALIDATE_BENCHMARK_PEERS"
"""Names the Python of an environment with peers whose dependencies do not go with ours: ``make bench-peers``."""

_LOOP: Final = """
import importlib.metadata, sys, time
import numpy as np
from PIL import Image
array = np.asarray(Image.open(sys.argv[1]))
{setup}
versions = [f"{{name}} {{importlib.metadata.version(name)}}" for name in sys.argv[2:]]
print(", ".join(versions), flush=True)
for _ in sys.stdin:
    start = time.perf_counter()
    {call}
    print(time.perf_counter() - start, flush=True)
"""


@dataclass(frozen=True)
class Timed:
    """Seconds that a function measured itself, because it waited for something else as well."""

    seconds: float


def medians(functions: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median seconds of each; they take turns, so that what else the machine does meets all of them alike."""
    names = list(functions)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(rounds):
        for position in range(len(names)):
            name = names[(turn + position) % len(names)]
            start = time.perf_counter()
            result = functions[name]()
            elapsed = time.perf_counter() - start
            seconds[name].append(result.seconds if isinstance(result, Timed) else elapsed)
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


@contextmanager
def peer_elsewhere(package: str, setup: str, call: str, picture: Path) -> Iterator[tuple[str, Callable[[], Timed]]]:
    """Run a peer in its own interpreter; yields its versions, and a function that has it hash `picture` once.

    Parameters
    ----------
    package
        Its name; the test is skipped where no interpreter is named, or it lacks the package.
    setup, call
        Lines of its program: what is done once, and the call that is timed there. Both see `array`, the pixels.
    """
    python = os.environ.get(INTERPRETER)
    if not python:
        pytest.skip(f"no interpreter with the peer {package}: make bench-peers, or name one in {INTERPRETER}")
    command = [python, "-c", _LOOP.format(setup=setup, call=call), str(picture), package, "numpy", "Pillow"]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        asks, answers = process.stdin, process.stdout

        def once() -> Timed:
            asks.write("\n")
            asks.flush()
            return Timed(float(answers.readline()))

        try:
            versions = answers.readline().strip()
            if not versions:
                process.kill()
                pytest.skip(f"{python} cannot run the peer {package}: {process.communicate()[1].strip()[-300:]}")
            yield versions, once
        finally:
            process.kill()
