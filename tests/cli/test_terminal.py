"""Commands on a real terminal (a pseudo-terminal) and in pipes: the line of progress, and what is left of it."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest
from PIL import Image

if sys.platform == "win32":
    pytest.skip("needs a pseudo-terminal", allow_module_level=True)

import fcntl
import struct
import termios

COMMAND: Final = (sys.executable, "-m", "crynux_validate")


def on_terminal(
    arguments: list[str], columns: int = 80, watch: Callable[[str, subprocess.Popen[bytes]], None] | None = None
) -> tuple[int, str]:
    """Run a command with all output on one terminal; returns its exit code and all that the terminal was sent."""
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    shown = b""
    with subprocess.Popen([*COMMAND, *arguments], stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        while True:
            try:
                found = os.read(ours, 4096)
            except OSError:  # Linux says so where nobody has the other end any more
                break
            if not found:
                break
            shown += found
            if watch is not None:
                watch(shown.decode("utf-8", "replace"), process)
    os.close(ours)
    return process.returncode, shown.decode()


def left(shown: str) -> list[str]:
    """The lines that stand on a terminal after it was sent this: a small terminal, which knows what commands send."""
    lines = [""]
    for part in shown.replace("\r\n", "\n").replace("\x1b[K", "\0").replace("\n", "\f\n\f").split("\f"):
        if part == "\n":
            lines.append("")
            continue
        for piece in part.replace("\r\0", "\f\0").split("\f"):
            assert "\r" not in piece, "the cursor goes back, and nothing is wiped"
            lines[-1] = piece[1:] if piece.startswith("\0") else lines[-1] + piece
    return lines


@pytest.fixture
def pictures(tmp_path: Path) -> list[str]:
    """The same picture many times, and one file that is none."""
    Image.radial_gradient("L").resize((64, 64)).rotate(20).save(tmp_path / "picture.png")
    (tmp_path / "text.png").write_text("no picture")
    return [str(tmp_path / "picture.png")] * 40 + [str(tmp_path / "text.png")]


def test_results_and_errors_stand_on_lines_of_their_own(pictures: list[str]) -> None:
    code, shown = on_terminal(["hash", *pictures], columns=400)
    assert code == 2
    assert "hashing  " in shown
    lines = left(shown)
    assert lines.pop() == ""
    assert all(line.startswith(("crynux-validate: ", f"{line[:16]}  {pictures[0]}  margin ")) for line in lines)
    assert len(lines) == 41


@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_leaves_one_line(times: int) -> None:
    """Pressed twice, it may say so twice."""

    def stop(shown: str, process: subprocess.Popen[bytes]) -> None:
        nonlocal times
        if "checking  " in shown and times:
            process.send_signal(signal.SIGINT)
            times -= 1

    once = times == 1
    code, shown = on_terminal(["vectors", "--verify"], watch=stop)
    assert code == 130
    lines = left(shown)
    assert set(lines) == {"crynux-validate: interrupted", ""}
    assert lines.pop() == ""
    assert len(lines) == 1 or not once


def test_a_narrow_terminal_shows_what_fits() -> None:
    def stop(shown: str, process: subprocess.Popen[bytes]) -> None:
        if shown.count("\r\x1b[K") > 3 and not ended:
            process.send_signal(signal.SIGTERM)
            ended.append(True)

    ended: list[bool] = []

    code, shown = on_terminal(["vectors", "--verify"], columns=20, watch=stop)
    assert code == 143
    assert [line for line in shown.split("\r\x1b[K") if len(line.strip()) > 19 and "crynux-validate" not in line] == []
    assert left(shown)[-2:] == ["crynux-validate: ended by SIGTERM", ""]


@pytest.mark.parametrize("arguments", [["hash", "--json"], ["hash"]], ids=" ".join)
def test_a_pipe_gets_results_alone(arguments: list[str], pictures: list[str]) -> None:
    done = subprocess.run([*COMMAND, *arguments, *pictures[:-1]], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout) if "--json" in arguments else done.stdout.splitlines()
    assert len(found) == 40
