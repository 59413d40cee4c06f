"""Writing a result into a folder, or the report of why there is none: what a node needs to answer.

``answer.bin`` is written last and removed first: where it is, all files beside it are of the same task.
"""

import json
import re
from collections.abc import Iterable, Mapping
from os import PathLike
from pathlib import Path
from typing import Any, Final

from crynux_validate.answers import ErrorReport, Score
from crynux_validate.errors import PipelineError
from crynux_validate.files import make_writable, write_whole
from crynux_validate.machines.environment import Environment
from crynux_validate.tasks import Task

ANSWER: Final = "answer.bin"
READABLE: Final = "answer.json"
TRACE: Final = "trace.bin"
TOP: Final = "top.bin"
_PARTS: Final = re.compile(r"environment\.json|trace\.bin|top\.bin|image-[0-9]+\.png|text-[0-9]+\.txt")
"""The files of a result besides task and answer."""


def headline(task: Task, score: Score, what: str, seconds: float) -> str:
    """Return the line that the text of a result begins with."""
    return f"{what} in {seconds:.1f} s, task {task.digest[:12]}, answer {score.algorithm}"


def save(
    folder: str | PathLike[str],
    task: Task,
    score: Score,
    environment: Environment,
    answer: Mapping[str, Any],
    files: Mapping[str, bytes | Iterable[bytes]],
) -> Path:
    """Write a result into a folder, which is made if it is not there.

    ``task.json`` (canonical bytes), ``answer.bin`` (the bytes to commit to), ``answer.json`` (the same, to read),
    ``environment.json``, and the result's own files. Files of these names are replaced, and those of an earlier result
    removed; everything else in the folder is left alone.

    Parameters
    ----------
    answer
        What ``answer.json`` says besides the score.
    files
        The result's own files: names and contents, whole or in parts.

    Raises
    ------
    PipelineError
        Where the folder cannot be written.
    """
    digest = None if score.result_digest is None else score.result_digest.hex()
    readable = {"answer": "score", "algorithm": score.algorithm, "score": score.hex, **answer, "result_digest": digest}
    readable["task_digest"] = task.digest
    own: dict[str, bytes | Iterable[bytes]] = {**files, "environment.json": environment.to_json().encode("utf-8")}
    try:
        path = begin(folder, task.canonical_bytes)
        for name, content in own.items():
            write_whole(path / name, content)
        _write_answer(path, readable, score.to_bytes())
    except OSError as error:
        raise PipelineError(f"the result cannot be saved in {folder}: {error}") from error
    return path


def save_report(
    folder: str | PathLike[str], task: bytes, task_digest: str | None, report: ErrorReport, reason: str
) -> dict[str, Any]:
    """Write the report of a task that gave no result, likewise; returns what ``answer.json`` says.

    Parameters
    ----------
    task
        The task's bytes: canonical, or as they came where they are no task.
    task_digest
        `Task.digest`; None where they are no task.
    report
        The answer to submit.
    reason
        What the operator is told.

    Raises
    ------
    OSError
        Where the folder cannot be written.
    """
    readable: dict[str, Any] = {"answer": "invalid_task" if report.invalid_task else "failed", "code": report.code}
    readable |= {"message": report.message, "reason": reason, "task_digest": task_digest}
    _write_answer(begin(folder, task), readable, report.to_bytes())
    return readable


def begin(folder: str | PathLike[str], task: bytes) -> Path:
    """Make a folder ready for the answer to a task: no file of another answer is left in it, and its task is written.

    Raises
    ------
    OSError
        Where the folder cannot be written. Nothing is removed then.
    """
    path = make_writable(folder)
    if _holds_answer(path):
        (path / ANSWER).unlink(missing_ok=True)
        for old in path.iterdir():
            if _PARTS.fullmatch(old.name) and old.is_file():
                old.unlink()
        (path / READABLE).unlink(missing_ok=True)
    write_whole(path / "task.json", task)
    return path


def _holds_answer(path: Path) -> bool:
    """Whether an earlier answer is there, or what is left of one; others may call a file of theirs ``answer.json``."""
    readable = path / READABLE
    return (path / ANSWER).is_file() or (readable.is_file() and b'"task_digest": ' in readable.read_bytes())


def _write_answer(path: Path, readable: Mapping[str, Any], answer: bytes) -> None:
    write_whole(path / READABLE, (json.dumps(readable, indent=2) + "\n").encode("utf-8"))
    write_whole(path / ANSWER, answer)
