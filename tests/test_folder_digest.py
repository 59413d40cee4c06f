"""What a folder's digest covers, and what is remembered of it."""

import json
import logging
import os
import stat
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from crynux_validate.errors import InvalidInputError, ModelError
from crynux_validate.tasks import DigestProgress, ModelRef, digest_cache, folder, folder_digest
from crynux_validate.tasks.folder import check_unchanged, folder_states

links = pytest.mark.skipif(sys.platform == "win32", reason="links need rights on Windows")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A folder of two files, one in a folder of its own."""
    made = tmp_path / "model"
    (made / "unet").mkdir(parents=True)
    (made / "unet" / "weights").write_bytes(b"abc")
    (made / "config.json").write_text("{}")
    return made


def age(file: Path, monkeypatch: pytest.MonkeyPatch, seconds: float = 60) -> None:
    """Let the clock be so much later than the file's last change."""
    changed = file.stat().st_ctime_ns
    monkeypatch.setattr(time, "time_ns", lambda: changed + int(seconds * 1e9))


@links
def test_what_loading_follows_counts(model: Path, tmp_path: Path) -> None:
    """Python's own search for files leaves linked folders out; whoever opens a file in one does not notice the link."""
    plain = folder_digest(model)
    elsewhere = tmp_path / "elsewhere"
    (model / "unet").rename(elsewhere)
    (model / "unet").symlink_to(elsewhere)
    assert folder_digest(model) == plain, "links and copies are the same model"
    (elsewhere / "weights").write_bytes(b"xyz")
    assert folder_digest(model) != plain
    (model / "config.json").rename(tmp_path / "config")
    (model / "config.json").symlink_to(tmp_path / "config")
    (elsewhere / "weights").write_bytes(b"abc")
    assert folder_digest(model) == plain
    (tmp_path / "config").write_text("{ }")
    assert folder_digest(model) != plain


@links
def test_hard_links_and_links_to_the_folder_itself(model: Path, tmp_path: Path) -> None:
    plain = folder_digest(model)
    os.link(model / "config.json", tmp_path / "same")
    (tmp_path / "link").symlink_to(model)
    assert folder_digest(tmp_path / "link") == plain
    (tmp_path / "same").write_text("[]")
    assert folder_digest(model) != plain


@links
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda at: (at / "unet" / "loop").symlink_to(at), "loop is a link to a folder above it"),
        (lambda at: (at / "gone").symlink_to(at / "nothing"), "gone cannot be read: No such file"),
        (lambda at: (at / "round").symlink_to(at / "round"), "round cannot be read"),
        (lambda at: os.mkfifo(at / "pipe"), "pipe is neither a file nor a folder"),
        (lambda at: (at / "\udcff.json").write_text("{}"), "is not valid Unicode; rename the file"),
    ],
)
def test_what_has_no_content_of_its_own(model: Path, spoil: Callable[[Path], Any], message: str) -> None:
    try:
        spoil(model)
    except OSError:
        pytest.skip("this file system has no such thing")
    with pytest.raises(ModelError, match=message):
        folder_digest(model)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads everything")
def test_a_folder_that_cannot_be_read_is_an_error(model: Path) -> None:
    (model / "unet").chmod(0)
    try:
        with pytest.raises(ModelError, match="unet cannot be read: Permission denied"):
            folder_digest(model)
    finally:
        (model / "unet").chmod(0o700)


@pytest.mark.parametrize(
    "touch",
    [
        lambda at: (at / "config.json").write_text("{ }"),
        lambda at: (at / "more").write_text(""),
        lambda at: (at / "config.json").unlink(),
        lambda at: (at / "config.json").rename(at / "other.json"),
        lambda at: os.utime(at / "config.json", ns=(1, 1)),
    ],
)
def test_a_folder_that_somebody_touched(model: Path, touch: Callable[[Path], Any]) -> None:
    states = folder_states(model)
    check_unchanged(model, states)
    touch(model)
    with pytest.raises(ModelError, match="changed while the model was loaded"):
        check_unchanged(model, states)


def test_a_file_that_changes_while_it_is_read(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = folder.folder_states

    def late(path: Path) -> dict[str, folder.FileState]:
        states = taken(path)
        (model / "config.json").write_text("[1]")
        return states

    monkeypatch.setattr(folder, "folder_states", late)
    with pytest.raises(ModelError, match=r"config.json changed while it was read"):
        folder_digest(model)


def write_and_hide(file: Path) -> None:
    file.write_bytes(b"xyz")
    os.utime(file, ns=(1, 1))


class Remembered:
    """A folder with one file that is large enough to be remembered, and what of it was read."""

    def __init__(self, at: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.at = at
        self.cache = cache
        self.file = at / "unet" / "weights"
        self.read: list[str] = []
        own = folder._Reading.sha256

        def sha256(reading: folder._Reading, name: str, state: folder.FileState) -> str:
            self.read.append(name)
            return own(reading, name, state)

        monkeypatch.setattr(folder._Reading, "sha256", sha256)
        monkeypatch.setattr(digest_cache, "LARGE", 3)
        monkeypatch.delenv("CRYNUX_VALIDATE_DIGEST_CACHE")
        monkeypatch.setenv("XDG_CACHE_HOME", str(cache))

    def digest(self) -> tuple[str, list[str]]:
        """Digest it, and say which files were read for that."""
        self.read.clear()
        return folder_digest(self.at), list(self.read)

    @property
    def entry(self) -> Path:
        """The file in the cache."""
        (found,) = (self.cache / "crynux-validate" / "digests").iterdir()
        return found


@pytest.fixture
def remembered(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Remembered:
    """See `Remembered`; its clock is a minute after the file's last change."""
    age(model / "unet" / "weights", monkeypatch)
    return Remembered(model, tmp_path / "cache", monkeypatch)


def test_large_files_are_read_once(remembered: Remembered) -> None:
    first, read = remembered.digest()
    assert read == ["config.json", "unet/weights"]
    assert remembered.digest() == (first, ["config.json"])
    assert ModelRef.local(remembered.at).digest == first


@pytest.mark.parametrize(
    "change",
    [
        lambda file: file.write_bytes(b"xyz"),
        lambda file: write_and_hide(file),
        lambda file: (file.unlink(), file.write_bytes(b"xyz")),
        lambda file: file.write_bytes(b"longer"),
    ],
)
def test_a_file_that_was_changed_is_read_again(
    remembered: Remembered, change: Callable[[Path], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where its size and its modification time are as before."""
    os.utime(remembered.file, ns=(1, 1))
    age(remembered.file, monkeypatch)
    first, _ = remembered.digest()
    time.sleep(0.02)  # file systems count time in steps of some milliseconds
    change(remembered.file)
    again, read = remembered.digest()
    assert "unet/weights" in read
    assert again != first


def test_a_file_that_was_just_changed_is_not_remembered(
    remembered: Remembered, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seconds, kept in ((-5.0, False), (1.9, False), (2.1, True)):
        age(remembered.file, monkeypatch, seconds)
        remembered.digest()
        assert ("unet/weights" not in remembered.digest()[1]) is kept, seconds


@pytest.mark.parametrize(
    "damage",
    [
        lambda entry: entry.write_bytes(b"\xff\x00"),
        lambda entry: entry.write_text("{"),
        lambda entry: entry.write_text("[]"),
        lambda entry: entry.write_text(entry.read_text().replace("digests/1", "digests/2")),
        lambda entry: entry.write_text('{"format": "crynux-validate/digests/1", "files": {"1:2:3:4:5": "abc"}}'),
        lambda entry: entry.write_text('{"format": "crynux-validate/digests/1", "files": [1]}'),
        lambda entry: entry.write_text("[" * 100_000),
        lambda entry: (entry.unlink(), entry.mkdir()),
    ],
)
def test_a_damaged_cache_is_as_good_as_none(
    remembered: Remembered, damage: Callable[[Path], Any], caplog: pytest.LogCaptureFixture
) -> None:
    first, _ = remembered.digest()
    damage(remembered.entry)
    assert remembered.digest() == (first, ["config.json", "unet/weights"])
    assert "the model is" in caplog.text
    assert remembered.entry.is_dir() or remembered.digest() == (first, ["config.json"]), "it was written anew"


def test_a_cache_that_cannot_be_written(
    remembered: Remembered, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    (tmp_path / "cache").write_text("a file")
    first, _ = remembered.digest()
    assert remembered.digest() == (first, ["config.json", "unet/weights"])
    assert "digests of models cannot be kept" in caplog.text


def test_the_cache_is_private_and_whole(remembered: Remembered) -> None:
    remembered.digest()
    assert json.loads(remembered.entry.read_text())["format"] == "crynux-validate/digests/1"
    if sys.platform != "win32":
        for place in (remembered.entry.parent, remembered.entry.parent.parent):
            assert stat.S_IMODE(place.stat().st_mode) == 0o700
        assert stat.S_IMODE(remembered.entry.stat().st_mode) == 0o600


def test_the_cache_is_written_by_many_at_once(remembered: Remembered) -> None:
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(folder_digest(remembered.at))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1
    assert remembered.digest()[1] == ["config.json"]


def test_what_was_read_before_an_interruption_is_kept(remembered: Remembered, monkeypatch: pytest.MonkeyPatch) -> None:
    (remembered.at / "vae").write_bytes(b"more")
    age(remembered.at / "vae", monkeypatch)
    own = folder._Reading.sha256

    def stop(reading: folder._Reading, name: str, state: folder.FileState) -> str:
        if name == "vae":
            raise KeyboardInterrupt
        return own(reading, name, state)

    with monkeypatch.context() as patched:
        patched.setattr(folder._Reading, "sha256", stop)
        with pytest.raises(KeyboardInterrupt):
            remembered.digest()
    assert remembered.digest()[1] == ["config.json", "vae"]


def test_the_cache_can_be_switched_off(remembered: Remembered, monkeypatch: pytest.MonkeyPatch) -> None:
    remembered.digest()
    monkeypatch.setenv("CRYNUX_VALIDATE_DIGEST_CACHE", "off")
    assert remembered.digest()[1] == ["config.json", "unet/weights"]
    monkeypatch.setenv("CRYNUX_VALIDATE_DIGEST_CACHE", "no")
    with pytest.raises(InvalidInputError, match="is 'no'; expected 'off', or no such variable"):
        remembered.digest()


@pytest.mark.parametrize(
    ("platform", "place"),
    [("linux", ".cache"), ("darwin", "Library/Caches"), ("win32", "AppData/Local")],
)
def test_where_the_cache_lies(platform: str, place: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("CRYNUX_VALIDATE_DIGEST_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative/paths/are/ignored")
    monkeypatch.delenv("LOCALAPPDATA", raising=False)
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    assert digest_cache.cache_folder() == tmp_path / place / "crynux-validate" / "digests"


def test_progress(model: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    seconds = iter(range(0, 1000, 6))
    monkeypatch.setattr(time, "monotonic", lambda: float(next(seconds)))
    told: list[DigestProgress] = []
    with caplog.at_level(logging.INFO):
        folder_digest(model, told.append)
    assert [(progress.done, progress.total) for progress in told] == [(2, 5), (5, 5), (5, 5)]
    assert "reading" in caplog.text
    assert "40% of 0.0 GB, 0 MB/s, 9 s left" in caplog.text
    assert (told[0].rate, told[0].left) == (2 / 6, 9.0)
    assert DigestProgress(0, 5, 0.0).left is None
