"""Whatever goes wrong: one line, exit code 2, no traceback, and nothing that looks like a verdict."""

import errno
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest
from PIL import Image

from crynux_validate import ImageTask, ModelRef, SqlLedger
from crynux_validate.cli import main, signals, stake
from crynux_validate.cli.output import printable

ODD: Final = "日本 é \udcff \x1b[2J.png"
"""A name that few terminals can show as it is: letters of no code page, a byte that is no text, an escape sequence."""

GROUP: Final = {"members": {name: {"answer": "score", "score": "f0f0f0f00f0f0f0f"} for name in "abc"}}

COMMANDS: Final = {
    "help": ["--help"],
    "version": ["--version"],
    "help of a command": ["judge", "--help"],
    "hash": ["hash", ODD],
    "hash --json": ["hash", "--json", ODD],
    "compare": ["compare", ODD, ODD],
    "compare, which differ": ["compare", "f0f0f0f00f0f0f0f", "0f0f0f0ff0f0f0f0"],
    "judge": ["judge", "group.json"],
    "judge --json": ["judge", "--json", "group.json"],
    "stake": ["stake", "--honest", "9", "--dishonest", "1"],
    "vectors --list": ["vectors", "--list"],
    "vectors --show": ["vectors", "--show", "task/defaults", "--json"],
    "run, an invalid task": ["run", "bad.json", "--out", "result", "--json"],
    "ledger show": ["ledger", "show", "ledger.db"],
    "ledger show --json": ["ledger", "show", "ledger.db", "--json"],
    "ledger verify": ["ledger", "verify", "ledger.db"],
}


class Broken(io.RawIOBase):
    """A file that cannot be written to."""

    def __init__(self, number: int) -> None:
        self._number = number

    def writable(self) -> bool:
        return True

    def write(self, _: object) -> int:
        raise OSError(self._number, os.strerror(self._number))


def broken(number: int) -> io.TextIOWrapper:
    stream = io.TextIOWrapper(io.BufferedWriter(Broken(number)), "utf-8", write_through=True)
    stream.close = lambda: None  # type: ignore[method-assign]  # or it tries to write what is left, and raises
    return stream


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the commands read, made once."""
    folder = tmp_path_factory.mktemp("prepared")
    Image.radial_gradient("L").resize((64, 64)).rotate(20).save(folder / "plain.png")
    os.rename(os.fsencode(folder / "plain.png"), os.fsencode(folder / ODD))
    (folder / "group.json").write_text(json.dumps(GROUP))
    (folder / "bad.json").write_text("{}")
    unpinned = ImageTask(model=ModelRef("a/b", revision="main", allow_unpinned=True), prompt="x")
    (folder / "unpinned.json").write_text(unpinned.to_json())
    Image.new("RGBA", (20, 20), (255, 0, 0, 9)).save(folder / "glass.png")
    with SqlLedger(f"sqlite:///{folder / 'ledger.db'}") as ledger:
        ledger.deposit("someone", 1)
    return folder


@pytest.fixture
def place(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with what the commands read."""
    folder = tmp_path / "place"
    shutil.copytree(prepared, folder)
    monkeypatch.chdir(folder)
    return folder


def ended(arguments: list[str]) -> int:
    """The exit code of a command."""
    try:
        return main(arguments)
    except SystemExit as exit_:
        return int(exit_.code or 0)


def one_line(text: str) -> bool:
    return text.startswith("crynux-validate: ") and text.count("\n") == 1 and "Traceback" not in text


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize("arguments", COMMANDS.values(), ids=COMMANDS)
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EPIPE, None], ids=["full disk", "no reader", "closed"])
def test_a_result_that_cannot_be_printed(
    arguments: list[str], number: int | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(sys, "stdout", None if number is None else broken(number))
        code = ended(arguments)
    err = capsys.readouterr().err
    assert code == 2
    assert one_line(err.splitlines(keepends=True)[-1])
    assert "standard output" in err
    assert "Traceback" not in err


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize("arguments", COMMANDS.values(), ids=COMMANDS)
@pytest.mark.parametrize("stream", [lambda: broken(errno.ENOSPC), lambda: None], ids=["full disk", "closed"])
def test_errors_that_cannot_be_printed_change_nothing(
    arguments: list[str],
    stream: Callable[[], Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    expected = ended(arguments)
    out = _without_clock(capsys.readouterr().out)
    with monkeypatch.context() as patched:
        patched.setattr(sys, "stderr", stream())
        assert ended(arguments) == expected
    assert _without_clock(capsys.readouterr().out) == out


def _without_clock(text: str) -> str:
    """What `ledger show` says of the clock is another second later."""
    return re.sub(r'[0-9:]{8} UTC, [0-9]+ s after|"clock": [0-9]+|"clock_ahead": [0-9]+', "", text)


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize("arguments", COMMANDS.values(), ids=COMMANDS)
@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8", "utf-16"])
def test_what_the_terminal_cannot_show(arguments: list[str], encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    written = {name: io.BytesIO() for name in ("stdout", "stderr")}
    for name, stream in written.items():
        monkeypatch.setattr(sys, name, io.TextIOWrapper(stream, encoding, write_through=True))
    code = ended(arguments)
    out = written["stdout"].getvalue().decode(encoding)
    assert code == (2 if "run" in arguments else 1 if "0f0f0f0ff0f0f0f0" in arguments else 0)
    assert "\x1b" not in out, "a file's name moves no cursor"
    if arguments[0] == "hash":
        name = json.loads(out)[0]["file"] if "--json" in arguments else out
        assert (ODD if "--json" in arguments else r"\udcff") in name
        assert ("日本" in name) == ("--json" in arguments or encoding.startswith("utf"))


@pytest.mark.parametrize(
    ("text", "encoding", "shown"),
    [
        ("plain\n\ttext", "ascii", "plain\n\ttext"),
        ("a\rb\x00\x9b", None, r"a\rb\x00\x9b"),
        ("é日", "cp1252", r"é\u65e5"),
        ("\udcff", "utf-8", r"\udcff"),
        ("\u202eabc\u2066", "utf-8", r"\u202eabc\u2066"),
        ("\U0001f469\u200d\U0001f4bb", "utf-8", "\U0001f469\u200d\U0001f4bb"),
        ("\u3000\xa0", "utf-8", "\u3000\xa0"),
        ("a\u2028b", "utf-8", r"a\u2028b"),
    ],
)
def test_printable(text: str, encoding: str | None, shown: str) -> None:
    assert printable(text, encoding) == shown


ERRORS: Final = {
    "memory": (MemoryError(), "too little free memory"),
    "recursion": (RecursionError("maximum recursion depth exceeded"), "this is a bug"),
    "bug": (KeyError("x"), "this is a bug, please report it: KeyError: 'x'"),
    "bug without a text": (AssertionError(), "this is a bug, please report it: AssertionError (in "),
    "bug of many lines": (ValueError("one\n\ttwo\x1b[2J"), r"ValueError: one two\x1b[2J"),
    "broken package": (ImportError("libfoo.so: cannot open shared object file", name="foo"), "missing or broken"),
    "missing package": (ModuleNotFoundError("No module named 'foo'", name="foo"), "No module named 'foo'"),
    "file": (PermissionError(errno.EACCES, "Permission denied", "x.bin"), "x.bin: Permission denied"),
    "system": (OSError(errno.ENOSPC, "No space left on device"), "No space left on device"),
    "encoding": (UnicodeEncodeError("ascii", "é", 0, 1, "ordinal not in range"), "UnicodeEncodeError"),
}


@pytest.mark.parametrize(("error", "word"), ERRORS.values(), ids=ERRORS)
def test_an_error_that_nobody_expected(
    error: Exception, word: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(stake, "required_stake", fail)
    assert main(["stake", "--honest", "9", "--dishonest", "1"]) == 2
    captured = capsys.readouterr()
    assert one_line(captured.err)
    assert word in captured.err
    assert captured.out == ""
    monkeypatch.setenv("CRYNUX_VALIDATE_TRACEBACK", "1")
    assert main(["stake", "--honest", "9", "--dishonest", "1"]) == 2
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert "test_failures.py" in err
    assert one_line(err.splitlines(keepends=True)[-1])


@pytest.mark.parametrize(
    ("interrupt", "code", "word"),
    [
        (KeyboardInterrupt(), 130, "interrupted"),
        (signals.Ended(signal.SIGINT), 130, "interrupted"),
        (signals.Ended(signal.SIGTERM), 143, "ended by SIGTERM"),
    ],
)
@pytest.mark.parametrize("hidden", [False, True], ids=["plain", "within another error"])
def test_an_interrupt_is_no_error(
    interrupt: BaseException,
    code: int,
    word: str,
    hidden: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(*_: object, **__: object) -> None:
        if not hidden:
            raise interrupt
        try:
            raise interrupt
        except KeyboardInterrupt as error:
            raise ImportError("numpy could not be imported") from error

    monkeypatch.setattr(stake, "required_stake", fail)
    assert main(["stake", "--honest", "9", "--dishonest", "1"]) == code
    assert capsys.readouterr().err == f"crynux-validate: {word}\n"


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ([], "COMMAND"),
        (["dance"], "dance"),
        (["hash"], "FILE"),
        (["compare", "a", "b", "--threshold", "many"], "argument --threshold: invalid int value: 'many'"),
        (["run", "x", "--out", "y", "--device", "cuda:x"], "expected cpu, cuda, cuda:<number> or mps"),
        (["run", "x", "--out", "y", "--device", "tpu"], "'tpu' is no device"),
        (["stake", "--honest", "1\n2", "--dishonest", "1"], r"'1\n2'"),
        (["hash", "x", "--nope\x1b[2J"], r"--nope\x1b[2J"),
    ],
)
def test_arguments_that_cannot_be_read(arguments: list[str], word: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert ended(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert one_line(captured.err)
    assert word in captured.err
    assert "--help'" in captured.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["compare", "f0" * 8, "f0" * 8, "--threshold", "65"], ["--threshold is 65"]),
        (["stake", "--honest", "9", "--dishonest", "1", "--slash-threshold", "3"], ["--slash-threshold is 3"]),
        (["stake", "--honest", "9", "--dishonest", "1", "--sampling-rate", "2"], ["--sampling-rate is 2"]),
        (["stake", "--honest", "9", "--dishonest", "1", "--images", "0"], ["--images is 0"]),
        (["stake", "--honest", "9", "--dishonest", "1", "--price", "-1"], ["--price is -1"]),
        (["stake", "--honest", "-9", "--dishonest", "1"], ["--honest is -9"]),
        (["stake", "--honest", "9", "--dishonest", "0"], ["--dishonest is 0"]),
        (["hash", ODD, "--threads", "0"], ["--threads is 0"]),
        (["hash", ODD, "--background", "nope"], ["--background is 'nope'"]),
        (["demo", "--threshold", "65"], ["--threshold is 65"]),
        (["hash", "glass.png"], ["pass --background white\n"]),
        (["hash", "glass.png", ODD, "--threads", "1", "--processes", "1"], ["--threads", "--processes is 1"]),
        (["run", "unpinned.json", "--out", "result"], ["pass --allow-unpinned to run"]),
        (["demo", "--tasks", "0"], ["--tasks is 0"]),
    ],
)
@pytest.mark.usefixtures("place")
def test_errors_speak_of_options(arguments: list[str], words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    err = capsys.readouterr().err
    for word in words:
        assert word in err
    assert "=True" not in err
    assert "='" not in err


@pytest.mark.usefixtures("place")
def test_files_and_fields_are_no_options(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["calibrate", "out"]) == 2
    assert "crynux-validate: out is not there" in capsys.readouterr().err
    (place / "bare.json").write_text('{"schema": "crynux-validate/image-task/1", "prompt": "x"}')
    assert main(["run", "bare.json", "--out", "r"]) == 2
    assert "crynux-validate: model: is missing" in capsys.readouterr().err


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("through", ["a file", "standard input"])
def test_json_of_every_unicode_encoding(
    encoding: str, through: str, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = json.dumps(GROUP).encode(encoding)
    (place / "group.json").write_bytes(data)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    assert main(["judge", "--json", "-" if through == "standard input" else "group.json"]) == 0
    assert json.loads(capsys.readouterr().out)["outcome"] == "VALIDATED"


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"\xff\xfe{", "looks like UTF-16, and is not"),
        (b"\xff\xfe\x00\xd8", "looks like UTF-16, and is not"),
        (b"\xef\xbb\xbf\xef\xbb\xbf{}", "JSON"),
        (b"\xfe\xff", "JSON"),
        ("é".encode("latin-1"), "UTF-8"),
        (b"", "JSON"),
        ((" " * 1_000_001).encode("utf-16"), "larger than"),
    ],
)
@pytest.mark.parametrize("command", [["judge"], ["env", "--compare"], ["evidence"]], ids=" ".join)
def test_json_that_is_none(
    data: bytes, word: str, command: list[str], place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if command == ["evidence"] and word == "larger than":
        pytest.skip("evidence may be larger")
    (place / "x.json").write_bytes(data)
    assert main([*command, "x.json"]) == 2
    assert word in capsys.readouterr().err


@pytest.mark.parametrize("name", ["", "missing", ".", "a\0b", "x" * 5000, "\ud800", "/dev/null"])
@pytest.mark.parametrize(
    "command",
    [["judge"], ["run", "--out", "r"], ["env", "--compare"], ["evidence"], ["hash"], ["ledger", "show"]],
    ids=" ".join,
)
def test_names_that_cannot_be_read(
    name: str, command: list[str], place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command, name]) == 2
    captured = capsys.readouterr()
    assert captured.out in ("", "[]\n") or command[0] == "run"
    assert one_line(captured.err)
    assert "bug" not in captured.err


@pytest.mark.usefixtures("place")
def test_a_standard_input_that_is_closed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    assert main(["judge", "-"]) == 2
    assert "standard input is closed" in capsys.readouterr().err


def test_a_file_is_written_whole_or_not_at_all(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A full disk leaves what was there, and nothing half."""

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("crynux_validate.files.os.fsync", full)
    (place / "stake.png").write_bytes(b"mine")
    assert main(["stake", "--honest", "9", "--dishonest", "2", "--plot", "stake.png"]) == 2
    assert "cannot write stake.png: No space left on device" in capsys.readouterr().err
    assert (place / "stake.png").read_bytes() == b"mine"
    assert not list(place.glob("*.part")) + list(place.glob(".*.part"))


def test_vectors_are_copied_whole_or_not_at_all(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls = []
    original = Path.write_bytes

    def full(self: Path, data: bytes) -> int:
        calls.append(self)
        if len(calls) > 5:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return original(self, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    assert main(["vectors", "--export", "copy"]) == 2
    assert "No space left on device" in capsys.readouterr().err
    assert not list((place / "copy").iterdir())


PROGRAM: Final = [sys.executable, "-m", "crynux_validate"]


@pytest.mark.usefixtures("place")
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize(
    ("shell", "code", "lines"),
    [
        ("vectors --list > /dev/full", 2, 1),
        ("--help > /dev/full", 2, 1),
        ("stake --honest 9 --dishonest 1 >&-", 2, 1),
        ("judge missing.json 2>&-", 2, 0),
        ("judge missing.json 2> /dev/full", 2, 0),
        ("compare f0f0f0f00f0f0f0f 0f0f0f0ff0f0f0f0 2>&- <&-", 1, 0),
        ("vectors --list | true; exit ${PIPESTATUS[0]}", 2, 1),
    ],
)
def test_the_process_itself(shell: str, code: int, lines: int) -> None:
    """Python prints nothing of its own at the end, and leaves the exit code alone."""
    command = f"'{sys.executable}' -m crynux_validate {shell}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert len(done.stderr.splitlines()) == lines, done.stderr
    assert all(line.startswith("crynux-validate: ") for line in done.stderr.splitlines())


@pytest.mark.skipif(os.name != "posix", reason="needs signals")
@pytest.mark.parametrize(
    ("number", "code", "word"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "ended by SIGTERM")]
)
@pytest.mark.parametrize("where", ["while it imports", "while it runs"])
def test_a_signal(number: int, code: int, word: str, where: str) -> None:
    """The process sends it to itself at a known point: in the middle of an import, or where the command reads."""
    imported = "crynux_validate.cli.stake" if where == "while it imports" else "none"
    program = f"""
import os, signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a process in the background is started without
def interrupt(*_):
    os.kill(os.getpid(), {int(number)})
    time.sleep(30)
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == {imported!r}:
            interrupt()
class Stream:
    read = interrupt
    buffer = property(lambda self: self)
sys.meta_path.insert(0, Finder())
sys.stdin = Stream()
sys.argv[1:] = ["judge", "-"]
from crynux_validate.cli import main
sys.exit(main())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (code, "", f"crynux-validate: {word}\n")


def test_a_signal_that_python_could_only_print_ends_the_process() -> None:
    program = """
import signal, sys, weakref
from crynux_validate.cli import signals
class Thing: pass
def command():
    signals.raise_them()
    thing = Thing()
    held = weakref.ref(thing, lambda _: signal.raise_signal(signal.SIGINT))
    del thing
    return 0
sys.exit(signals.run_process(command))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (130, "crynux-validate: interrupted\n")


def test_a_signal_that_the_parent_ignores_stays_ignored() -> None:
    program = """
import signal, sys
from crynux_validate.cli import signals
signal.signal(signal.SIGINT, signal.SIG_IGN)
def command():
    signals.raise_them()
    signal.raise_signal(signal.SIGINT)
    return 0
sys.exit(signals.run_process(command))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
