"""``crynux-validate run``: one node's part of a task."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import crynux_validate
from crynux_validate.cli.common import Commands, add_json_flag, note, read_file, say, say_json, show_progress
from crynux_validate.errors import InvalidInputError
from crynux_validate.tasks import MAX_TASK_BYTES, ImageTask, TextTask, task_from_json

if TYPE_CHECKING:
    from crynux_validate import ImageResult, Progress, Runner, TextResult, Token


def add_parser(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "run",
        help="run a task and write result, score and environment",
        description="Run a task as a node does: the images or texts, the answer that would be committed, and the "
        "environment, written to a folder. The model is the hub revision that the task pins, or a local folder that "
        "--model names.",
    )
    parser.add_argument("task", metavar="TASK.json", help="the task, or - for standard input")
    parser.add_argument("--out", required=True, metavar="DIR", help="where to write")
    parser.add_argument("--model", metavar="DIR", help="the local folder of a model that the task names by its digest")
    parser.add_argument("--device", choices=("cpu", "cuda", "mps"), help="default: cuda, then mps, then cpu")
    parser.add_argument("--allow-unpinned", action="store_true", help="accept a model revision that can move")
    add_json_flag(parser)
    parser.set_defaults(main=main)


def main(arguments: argparse.Namespace) -> int:
    """Run the task."""
    text = read_file(arguments.task, "the task", MAX_TASK_BYTES)
    task = task_from_json(text, allow_unpinned=arguments.allow_unpinned)
    if arguments.model is not None:
        task = task.replace(model=task.model.at(arguments.model))
    elif task.model.digest is not None:
        raise InvalidInputError(
            f"the task names its model by the digest {task.model.digest[:16]}...; say where it lies with --model DIR"
        )
    if Path(arguments.out).exists() and not Path(arguments.out).is_dir():
        raise InvalidInputError(f"--out {arguments.out} is a file; name a folder")
    note(f"loading {task.model}")
    with crynux_validate.Runner.for_task(task, arguments.device) as runner:
        result: ImageResult | TextResult
        if isinstance(task, TextTask):
            result, found = _write(runner, task, quiet=arguments.json)
        else:
            result, found = _draw(runner, task)
    result.save(arguments.out)
    environment = result.environment.to_dict()
    digests = {name: value for name, value in environment.items() if name.endswith("_digest")}
    if arguments.json:
        score = {"algorithm": result.score.algorithm, "score": result.score.hex}
        fields = {"task_digest": task.digest.hex(), **score, **found, **digests}
        say_json({**fields, "seconds": result.seconds, "out": str(arguments.out)})
        return 0
    say(f"task         {task.digest.hex()}")
    say(f"score        {result.score}")
    for line in _lines(found):
        say(line)
    for name, value in digests.items():
        say(f"{name.removesuffix('_digest'):<12} {value}")
    say(f"written to {arguments.out} in {result.seconds:.1f} s")
    return 0


def _draw(runner: "Runner", task: ImageTask) -> "tuple[ImageResult, dict[str, Any]]":
    """Run an image task; returns what is shown besides the score."""

    def show(done: "Progress") -> None:
        show_progress(f"image {done.image + 1}/{done.images}  step {done.step}/{done.steps}")

    result = runner.run(task, on_step=show)
    show_progress("")
    rows = [{"hash": found.hex, "margin": found.margin, "degenerate": found.degenerate} for found in result.hashes]
    return result, {"hashes": rows}


def _write(runner: "Runner", task: TextTask, *, quiet: bool) -> "tuple[TextResult, dict[str, Any]]":
    """Run a text task, and print the text as it comes."""

    def show(token: "Token") -> None:
        if not quiet:
            end = "\n" if token.step == token.steps else ""
            print(_printable(token.text), end=end, flush=True)

    result = runner.run(task, on_token=show)
    if not quiet and "length" not in result.finish:
        say("")
    tokens = [list(ids) for ids in result.token_ids]
    return result, {"finish": list(result.finish), "texts": list(result.texts), "token_ids": tokens}


def _printable(text: str) -> str:
    """Return a model's text as a terminal can show it: control characters and what it has no bytes for are replaced."""
    shown = "".join(letter if letter.isprintable() or letter in "\n\t" else "\ufffd" for letter in text)
    encoding = sys.stdout.encoding or "utf-8"
    return shown.encode(encoding, "replace").decode(encoding)


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
