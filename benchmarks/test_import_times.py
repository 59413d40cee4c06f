"""What an import costs in a fresh process.

Goals: ``import crynux_validate`` 0.15 s at most, ``from crynux_validate import ImageTask, judge`` 0.3 s at most, both
with the interpreter's own start, which the first line measures alone.
"""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest


@pytest.mark.benchmark(group="fresh processes")
@pytest.mark.parametrize(
    "code", ["pass", "import crynux_validate", "from crynux_validate import ImageTask, judge"], ids=lambda code: code
)
def test_import(code: str, benchmark: Any, tmp_path: Path) -> None:
    def start() -> int:
        return subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True).returncode

    rounds = 15 if benchmark.enabled else 1
    assert benchmark.pedantic(start, rounds=rounds, warmup_rounds=rounds // 15) == 0
