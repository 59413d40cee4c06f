"""Make the tables of docs/measurements/hashes.md for what a ledger calls all day: ``python -m benchmarks.table``.

Runs the benchmarks of hashes, distances, verdicts and draws beside their peers, on one thread of numpy's, and prints
Markdown. Peers that are not installed (the extra ``bench``) are left out, and named on standard error; ``make
bench-peers`` adds those that need an environment of their own.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.peers import RECORD

FILES = ("test_hashing", "test_hamming", "test_judging", "test_draws")


def main() -> int:
    """Print the tables; returns what pytest returned."""
    with tempfile.TemporaryDirectory() as folder:
        record, measured = Path(folder) / "record", Path(folder) / "measured.json"
        command = [sys.executable, "-m", "pytest", "-q", "--benchmark-enable", f"--benchmark-json={measured}"]
        files = [f"benchmarks/{name}.py" for name in FILES]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", RECORD: str(record)}
        done = subprocess.run([*command, *files], env=environment, check=False, stdout=sys.stderr)
        if record.exists():
            print("\n".join(in_turn(record)))
        if measured.exists():
            print("\n".join(alone(measured)))
    return done.returncode


def in_turn(record: Path) -> list[str]:
    """Tables of what was timed in turn."""
    lines = []
    for line in record.read_text("utf-8").splitlines():
        found = json.loads(line)
        lines += [f"\n| {found['title']}, in turn | median | of {found['to']} |", "|---|---|---|"]
        least = found["times"][found["to"]]
        lines += [f"| {name} | {shown(time)} | {time / least:.3g} |" for name, time in found["times"].items()]
    return lines


def alone(measured: Path) -> list[str]:
    """The table of what pytest-benchmark timed, one after the other."""
    lines = ["\n| one after the other | median | rounds |", "|---|---|---|"]
    for found in json.loads(measured.read_text("utf-8"))["benchmarks"]:
        group = f"{found['group']}: " if found["group"] else ""
        lines.append(f"| {group}`{found['name']}` | {shown(found['stats']['median'])} | {found['stats']['rounds']} |")
    return lines


def shown(seconds: float) -> str:
    """A time with three digits."""
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 1e-6:.3g} us"


if __name__ == "__main__":
    sys.exit(main())
