"""Writing a result into a folder."""

import json
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from crynux_validate.answers import Score
from crynux_validate.errors import PipelineError
from crynux_validate.machines.environment import Environment
from crynux_validate.tasks import Task


def save(
    folder: str | PathLike[str],
    task: Task,
    score: Score,
    environment: Environment,
    answer: Mapping[str, Any],
    files: Mapping[str, bytes],
    stale: str,
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
        The result's own files: names and contents.
    stale
        A pattern that fits the result's own files and no others.

    Raises
    ------
    PipelineError
        Where the folder cannot be written.
    """
    path = Path(folder)
    digest = None if score.result_digest is None else score.result_digest.hex()
    readable = {"algorithm": score.algorithm, "score": score.hex, **answer, "result_digest": digest}
    readable["task_digest"] = task.digest.hex()
    written = {
        **files,
        "task.json": task.canonical_bytes,
        "answer.json": (json.dumps(readable, indent=2) + "\n").encode("utf-8"),
        "answer.bin": score.to_bytes(),
        "environment.json": environment.to_json().encode("utf-8"),
    }
    try:
        path.mkdir(parents=True, exist_ok=True)
        if (path / "answer.bin").is_file():
            for old in path.glob(stale):
                old.unlink()
        for name, content in written.items():
            (path / name).write_bytes(content)
    except OSError as error:
        raise PipelineError(f"the result cannot be saved in {path}: {error}") from error
    return path
