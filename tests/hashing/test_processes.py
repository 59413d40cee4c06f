"""Files hashed in several processes: the same hashes and errors as in one, and nobody is left behind."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from crynux_validate.errors import InvalidImageError, InvalidInputError, PipelineError
from crynux_validate.hashing import image_hash, image_hashes
from crynux_validate.hashing.processes import hash_in_processes
from tests.hashing import process_jobs


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    found = [tmp_path / f"{number}.png" for number in range(12)]
    for seed, path in enumerate(found):
        samples = np.random.default_rng(seed).integers(0, 256, (30 + seed, 40, 3), dtype=np.uint8)
        Image.fromarray(samples).save(path)
    return found


def names(count: int) -> list[str]:
    return [f"{number}.png" for number in range(count)]


def hashed(job: Any, images: Any, processes: int = 2, return_errors: bool = False, **options: Any) -> Any:
    return hash_in_processes(images, job, options, processes, return_errors=return_errors)


@pytest.mark.parametrize("processes", [1, 2, 3])
@pytest.mark.parametrize("algorithm", ["phash/1", "phash-go/1"])
def test_they_are_the_hashes_of_each_in_order(paths: list[Path], algorithm: Any, processes: int) -> None:
    expected = [image_hash(path, algorithm) for path in paths]
    assert image_hashes(paths, algorithm, processes=processes) == expected
    assert image_hashes(iter(paths), algorithm, processes=processes, return_errors=True) == expected
    assert image_hashes([], algorithm, processes=processes) == []


def test_every_form_of_a_picture(paths: list[Path]) -> None:
    with Image.open(paths[0]) as image:
        forms: list[Any] = [paths[0], str(paths[0]), paths[0].read_bytes(), image.copy(), np.asarray(image)]
    assert len(set(image_hashes(forms * 9, processes=2))) == 1


def test_both_processes_hash_at_the_same_time_and_the_other_ends(tmp_path: Path) -> None:
    found = hashed(process_jobs.met, iter(names(9)), folder=str(tmp_path), caller=os.getpid())
    assert [str(value.bits, "ascii").strip() for value in found] == names(9)
    other = int((tmp_path / "other").read_text("utf-8"))
    assert other != os.getpid()
    with pytest.raises(ProcessLookupError):
        os.kill(other, 0)


def test_errors_can_be_given_in_place(paths: list[Path]) -> None:
    found = image_hashes([*paths, "missing.png", b"no picture", paths[0]], processes=2, return_errors=True)
    assert [isinstance(value, InvalidImageError) for value in found] == [False] * 12 + [True, True, False]
    assert "missing.png" in str(found[12])
    with pytest.raises(InvalidInputError, match="algorithm is"):
        image_hashes(paths, "phash/9", processes=2, return_errors=True)  # type: ignore[call-overload]


@pytest.mark.parametrize("processes", [1, 2])
def test_the_first_bad_picture_in_order_is_raised_and_the_rest_left_alone(tmp_path: Path, processes: int) -> None:
    images = [*names(700), "bad1", "bad2", "bad3", *(f"late{number}" for number in range(2_000))]
    with pytest.raises(InvalidImageError, match="bad1 is bad"):
        hashed(process_jobs.counted, images, processes, folder=str(tmp_path))
    begun = {path.name for path in tmp_path.iterdir()}
    assert begun.issuperset(names(700))
    assert sum(name.startswith("late") for name in begun) < 10


def test_an_error_of_the_callers_own_iterable_is_raised() -> None:
    def broken() -> Any:
        yield np.zeros((1, 1), np.uint8)
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        image_hashes(broken(), processes=2)


def test_a_process_that_dies_names_what_it_was_hashing(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match=r"ended with code 7 while it hashed '\d\.png' or '\d\.png'.*use threads"):
        hashed(process_jobs.met, iter(names(9)), folder=str(tmp_path), caller=os.getpid(), end=7)


def test_a_process_that_cannot_start(monkeypatch: pytest.MonkeyPatch, paths: list[Path]) -> None:
    monkeypatch.setattr(sys, "executable", str(paths[0]))
    with pytest.raises(PipelineError, match=r"could not be started.*use threads"):
        image_hashes(paths * 50, processes=2)


SCRIPT = """
import os, sys
from crynux_validate.hashing.processes import hash_in_processes
from tests.hashing.process_jobs import met

options = {"folder": sys.argv[1], "caller": os.getpid()}
found = hash_in_processes(iter(["a", "b", "c", "d", "e"]), met, options, 2, return_errors=False)
print(len(found), "hashes", file=sys.stderr, flush=True)
if len(sys.argv) > 2:
    hash_in_processes((str(number) for number in range(10**9)), met, options, 2, return_errors=False)
"""


def test_a_script_needs_no_guard(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT, "utf-8")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, script, tmp_path], env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr.count("5 hashes")) == (0, 1), done.stderr


def test_a_killed_caller_leaves_no_process_behind(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", SCRIPT, str(tmp_path), "and many more"]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL) as script:
        assert script.stderr is not None
        while b"5 hashes" not in script.stderr.readline():
            assert script.poll() is None
        script.kill()
        script.stderr.read()  # ends when nobody holds the pipe any more: the other process has inherited it
    assert script.returncode < 0


@pytest.mark.parametrize("processes", [0, -1, 1.5, "2", True])
def test_processes_that_are_none(processes: Any) -> None:
    with pytest.raises(InvalidInputError, match=r"processes is .*expected an integer"):
        image_hashes([], processes=processes)


def test_threads_and_processes_exclude_each_other() -> None:
    with pytest.raises(InvalidInputError, match="threads is 2 and processes is 2; expected one of them"):
        image_hashes([], threads=2, processes=2)
