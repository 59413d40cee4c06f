"""``crynux-validate run``: one node's part of a task."""

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

import crynux_validate
from crynux_validate.answers import ErrorReport
from crynux_validate.cli.common import Commands, add_device_flag, add_json_flag, note, read_file, say, say_json
from crynux_validate.cli.output import OutputError, show_progress
from crynux_validate.cli.progress import Progress
from crynux_validate.errors import CrynuxValidateError, InvalidInputError, InvalidTaskError
from crynux_validate.pipelines import results
from crynux_validate.tasks import MAX_TASK_BYTES, ImageTask, Task, TextTask, task_from_json

if TYPE_CHECKING:
    from crynux_validate import ImageResult, Runner, TextResult
    from crynux_validate.pipelines import Token


T = TypeVar("T", bound=ImageTask | TextTask)


class NoScoreError(CrynuxValidateError):
    """A task that gave no score; the report of it is written."""


def add_parser(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "run",
        help="run a task and write result, score and environment",
        description="Run a task as a node does: write the images or texts, the answer to commit to, and the "
        "environment to a folder. The model is the hub revision that the task pins, or a local folder that "
        "--model names. Exit code 0: the answer is a score. 2: there is no score. If the task is invalid, or this "
        "machine could not run it, the answer is a report. If the command line is wrong, there is no answer.bin.",
    )
    parser.add_argument("task", metavar="TASK.json", help="the task, or - for standard input")
    parser.add_argument(
        "--out", required=True, metavar="DIR", help="where to write; an earlier result there is replaced"
    )
    parser.add_argument("--model", metavar="DIR", help="the local folder of a model that the task names by its digest")
    add_part_flag(parser)
    add_device_flag(parser)
    parser.add_argument(
        "--allow-unpinned", action="store_true", help="accept a model revision that can change, such as a branch"
    )
    add_json_flag(parser)
    parser.set_defaults(main=main)


def main(arguments: argparse.Namespace) -> int:
    """Run the task, or report why that is impossible."""
    data = read_file(arguments.task, "the task", MAX_TASK_BYTES)
    try:
        task = task_from_json(data, allow_unpinned=arguments.allow_unpinned)
    except InvalidTaskError as error:
        raise _reported(arguments, data, None, error) from error
    check_model(arguments, task)
    try:
        results.begin(arguments.out, task.canonical_bytes)  # before hours of work, not after them
    except OSError as error:
        raise _unwritable(arguments.out, error) from error
    try:
        result, found, unseen = _compute(arguments, task)
    except Exception as error:
        raise _reported(arguments, task.canonical_bytes, task.digest, error) from error
    result.save(arguments.out)
    if unseen is not None:
        raise unseen
    _show(arguments, result, found)
    return 0


def check_model(arguments: argparse.Namespace, task: Task) -> None:
    """Refuse what is the command line's fault, and not the task's or the machine's."""
    digest, model = task.model.digest, arguments.model
    if digest is not None and model is None:
        raise InvalidInputError(
            f"the task names its model by the digest {digest[:16]}...; give its folder with --model DIR"
        )
    if digest is None and model is not None:
        raise InvalidInputError(f"the task names the repository {task.model.repository!r}; leave --model out")
    if model is not None and not Path(model).is_dir():
        raise InvalidInputError(f"--model {model} is not a folder")
    for path in arguments.part:
        if not Path(path).exists():
            raise InvalidInputError(f"--part {path} is neither a folder nor a file")
    models = {name: part for name, part in task.references().items() if name != "model" and part.digest is not None}
    missing = {**models, **task.pictures_named()}
    if missing and not arguments.part:
        name, part = next(iter(missing.items()))
        raise InvalidInputError(f"the task names {name} by a digest, {part}; give its folder or file with --part PATH")


def _unwritable(out: str, error: OSError) -> InvalidInputError:
    if Path(out).exists() and not Path(out).is_dir():
        return InvalidInputError(f"--out {out} is a file; name a folder")
    return InvalidInputError(f"--out {out} cannot be written: {error.strerror or error}")


def _reported(arguments: argparse.Namespace, task: bytes, digest: str | None, error: Exception) -> NoScoreError:
    """Write the report that an error deserves; returns what the operator is told."""
    report = ErrorReport.of(error)
    reason = str(error) if isinstance(error, CrynuxValidateError) else report.message
    try:
        written = results.save_report(arguments.out, task, digest, report, reason)
    except OSError as problem:
        raise _unwritable(arguments.out, problem) from error
    if arguments.json:
        say_json({**written, "out": str(arguments.out)})
    what = f"the task is invalid ({report.code})" if report.invalid_task else "the task failed on this machine"
    return NoScoreError(f"{reason}; {what}, and {Path(arguments.out) / results.ANSWER} is the report to submit")


def _compute(
    arguments: argparse.Namespace, task: Task
) -> "tuple[ImageResult | TextResult, dict[str, Any], OutputError | None]":
    """Load the model and run the task; returns the result, what is shown of it, and why it cannot be shown."""
    task = located(arguments, task)
    note(f"loading {task.model} ...")
    started = time.monotonic()
    with crynux_validate.Runner.for_task(task, arguments.device) as runner:
        note(f"loaded on {runner.device} in {time.monotonic() - started:.1f} s")
        if isinstance(task, TextTask):
            return _write(runner, task, quiet=arguments.json)
        return *_draw(runner, task), None


def located(arguments: argparse.Namespace, task: T) -> T:
    """Return the task with the folders that ``--model`` and ``--part`` name, where they name some."""
    folders = [folder for folder in (arguments.model, *arguments.part) if folder is not None]
    if not folders:
        return task
    return cast("T", task.at(*folders, on_progress=lambda read: show_progress(f"reading the model  {read}")))


def add_part_flag(parser: argparse.ArgumentParser) -> None:
    """Add the option for what a task names by digest beside its model."""
    parser.add_argument(
        "--part",
        action="append",
        default=[],
        metavar="PATH",
        help="the folder of a LoRA, or the file of a picture, that the task names by its digest; once for each",
    )


def _show(arguments: argparse.Namespace, result: "ImageResult | TextResult", found: dict[str, Any]) -> None:
    """Print what came of it."""
    environment = result.environment.to_dict()
    digests = {name: value for name, value in environment.items() if name.endswith("_digest")}
    if arguments.json:
        score = {"algorithm": result.score.algorithm, "score": result.score.hex}
        fields = {"answer": "score", "task_digest": result.task.digest, **score, **found, **digests}
        say_json({**fields, "seconds": result.seconds, "out": str(arguments.out)})
        return
    say(f"task         {result.task.digest}")
    say(f"score        {result.score}")
    for line in _lines(found):
        say(line)
    for name, value in digests.items():
        say(f"{name.removesuffix('_digest'):<12} {value}")
    say(f"written to {arguments.out} in {result.seconds:.1f} s")


def _draw(runner: "Runner", task: ImageTask) -> "tuple[ImageResult, dict[str, Any]]":
    """Run an image task; returns what is shown besides the score."""

    def show(done: "crynux_validate.pipelines.Progress") -> None:
        at = done.image * done.steps + done.step
        progress.show(at, f"  image {done.image + 1} of {done.images}", total=done.images * done.steps)

    with Progress("drawing", task.images * task.steps, "steps") as progress:
        result = runner.run(task, on_step=show)
    rows = [{"hash": found.hex, "margin": found.margin, "degenerate": found.degenerate} for found in result.hashes]
    return result, {"hashes": rows}


class _Shown:
    """The texts of a run as they come; that they cannot be shown is no reason to compute them again."""

    def __init__(self, *, quiet: bool) -> None:
        self.problem: OutputError | None = None
        self._quiet = quiet
        self._sequence: int | None = None
        self._progress = Progress("writing", 0, "tokens")

    def show(self, token: "Token") -> None:
        """Show a token."""
        if self._quiet:
            self._progress.show(token.sequence * token.steps + token.step, total=token.sequences * token.steps)
            return
        if self._sequence not in (None, token.sequence):
            self.print("\n")
        self._sequence = token.sequence
        self.print(token.text)

    def end(self, result: "TextResult") -> None:
        """End the last line; a search that shows nothing on the way is shown as a whole."""
        self._progress.end()
        if not self._quiet:
            self.print("\n" if self._sequence is not None else "\n".join(result.texts) + "\n")

    def print(self, text: str) -> None:
        """Print a text, if that is still possible."""
        try:
            if self.problem is None:
                say(text, end="")
        except OutputError as error:
            self.problem = error


def _write(runner: "Runner", task: TextTask, *, quiet: bool) -> "tuple[TextResult, dict[str, Any], OutputError | None]":
    """Run a text task, and print the text as it comes."""
    shown = _Shown(quiet=quiet)
    result = runner.run(task, on_token=shown.show)
    shown.end(result)
    tokens = [list(ids) for ids in result.token_ids]
    found = {"finish": list(result.finish), "texts": list(result.texts), "token_ids": tokens}
    return result, found, shown.problem


def _lines(found: dict[str, Any]) -> list[str]:
    lines = []
    for at, row in enumerate(found.get("hashes", ())):
        plain = ", degenerate: too plain to tell from others" if row["degenerate"] else ""
        lines.append(f"image {at:<6} {row['hash']}, margin {row['margin']:.3g}{plain}")
    for at, (finish, ids) in enumerate(zip(found.get("finish", ()), found.get("token_ids", ()), strict=True)):
        lines.append(f"sequence {at:<3} {len(ids)} tokens, ended by {_FINISH[finish]}")
    return lines


_FINISH: Final = {
    "end": "an end-of-sequence token",
    "stop": "a stop string",
    "length": "the number of tokens that was asked for",
}
