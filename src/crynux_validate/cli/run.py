"""``crynux-validate run``: one node's part of a task."""

import argparse
from pathlib import Path

import crynux_validate
from crynux_validate.cli.common import Commands, add_json_flag, note, read_file, say, say_json, show_progress
from crynux_validate.errors import InvalidInputError
from crynux_validate.tasks import MAX_TASK_BYTES, task_from_json


def add_parser(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "run",
        help="run a task and write images, score and environment",
        description="Run a task as a node does: the images, the answer that would be committed, and the environment, "
        "written to a folder. The model is the hub revision that the task pins, or a local folder that --model names.",
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
        result = runner.run(task, on_step=_show)
    show_progress("")
    result.save(arguments.out)
    hashes = [{"hash": found.hex, "margin": found.margin, "degenerate": found.degenerate} for found in result.hashes]
    environment = result.environment.to_dict()
    digests = {name: value for name, value in environment.items() if name.endswith("_digest")}
    if arguments.json:
        score = {"algorithm": result.score.algorithm, "score": result.score.hex}
        fields = {"task_digest": task.digest.hex(), **score, "hashes": hashes, **digests}
        say_json({**fields, "seconds": result.seconds, "out": str(arguments.out)})
        return 0
    say(f"task         {task.digest.hex()}")
    say(f"score        {result.score}")
    for at, found in enumerate(result.hashes):
        plain = ", degenerate: too plain to tell from others" if found.degenerate else ""
        say(f"image {at:<6} {found.hex}, margin {found.margin:.3g}{plain}")
    for name, value in digests.items():
        say(f"{name.removesuffix('_digest'):<12} {value}")
    say(f"written to {arguments.out} in {result.seconds:.1f} s")
    return 0


def _show(progress: "crynux_validate.Progress") -> None:
    show_progress(f"image {progress.image + 1}/{progress.images}  step {progress.step}/{progress.steps}")
