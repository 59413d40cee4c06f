"""The line of progress: how far, how fast, how long; on a terminal alone."""

import io
import sys

import pytest

from crynux_validate.cli import progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr("crynux_validate.cli.progress.time.monotonic", lambda: now[0])
    return now


def test_rate_and_time_left(clock: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    shown = progress.Progress("checking", 1_000, "vectors")
    for done, seconds in ((0, 0), (1, 0.01), (2, 0.2), (40, 2), (990, 2.01), (1_000, 2.02)):
        clock[0] = 100.0 + seconds
        shown.show(done)
    shown.end()
    lines = stream.getvalue().split("\r\x1b[K")
    assert lines == [
        "",
        "checking  0 of 1,000 vectors",
        "checking  2 of 1,000 vectors",
        "checking  40 of 1,000 vectors  20/s  48 s left",
        "checking  1,000 of 1,000 vectors  495/s  0 s left",
        "",
    ]


@pytest.mark.parametrize(("seconds", "text"), [(0.2, "0 s"), (59, "59 s"), (61, "1 min 1 s"), (3_700, "1 h 1 min")])
def test_durations(seconds: float, text: str) -> None:
    assert progress._duration(seconds) == text


@pytest.mark.parametrize("stream", [io.StringIO(), None])
def test_nothing_is_shown_where_nobody_watches(stream: io.StringIO | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", stream)
    shown = progress.Progress("checking", 10, "vectors")
    shown.show(3)
    shown.end()
    assert stream is None or stream.getvalue() == ""
