"""What ``audit`` is told beside task, answer and proof: seed, bands, kinds of machine, a second hypothesis."""

import argparse
from typing import Any, TypeVar

from crynux_validate.audits.bands import AuditBands
from crynux_validate.cli.common import read_file
from crynux_validate.cli.run import located
from crynux_validate.encoding import parse_hex
from crynux_validate.errors import InvalidInputError
from crynux_validate.tasks import MAX_TASK_BYTES, ImageTask, TextTask, task_from_json

T = TypeVar("T", ImageTask, TextTask)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options to ``audit``."""
    parser.add_argument(
        "--kinds", nargs=2, metavar=("NODE", "OWN"), help="what you call the node's kind of machine and this one"
    )
    parser.add_argument(
        "--bands",
        metavar="FILE",
        help="the bands, which say what counts as noise: a file of calibrate-audits; default: the shipped ones",
    )
    parser.add_argument(
        "--against",
        metavar="TASK.json",
        help="a second hypothesis: the task with another model; of a text also with other sampling",
    )
    parser.add_argument(
        "--against-model", metavar="DIR", help="the local folder of the model that --against names by its digest"
    )
    parser.add_argument(
        "--whole", action="store_true", help="of texts: look at all tokens, so that bands can be made from the audit"
    )


def settings_of(arguments: argparse.Namespace, task: ImageTask | TextTask) -> dict[str, Any]:
    """Return what both kinds of audit take; ``against`` is not located yet."""
    if arguments.whole and not isinstance(task, TextTask):
        raise InvalidInputError("--whole is for texts; of an image all drawn steps are looked at")
    kinds = None if arguments.kinds is None else (arguments.kinds[0], arguments.kinds[1])
    bands = None if arguments.bands is None else AuditBands.load(arguments.bands)
    return {"kinds": kinds, "bands": bands, "against": _against(arguments, task)}


def _against(arguments: argparse.Namespace, task: T) -> T | None:
    if arguments.against is None:
        if arguments.against_model is not None:
            raise InvalidInputError("--against-model is given without --against; name the task of the hypothesis")
        return None
    data = read_file(arguments.against, "the second hypothesis", MAX_TASK_BYTES)
    other = task_from_json(data, allow_unpinned=arguments.allow_unpinned)
    if not isinstance(other, type(task)):
        kind = "text" if isinstance(task, TextTask) else "image"
        raise InvalidInputError(f"--against is no {kind} task; give the audited task with another model")
    if isinstance(task, ImageTask) and other.replace(model=task.model) != task:
        raise InvalidInputError("--against differs from the task in more than its model; give the task with another")
    if other.model.digest not in (None, task.model.digest) and arguments.against_model is None:
        raise InvalidInputError(f"--against names {other.model} by its digest; say where it lies with --against-model")
    return other


def located_other(arguments: argparse.Namespace, other: T | None, task: T) -> T | None:
    """Return the second hypothesis with its folders; the audited task has those that it shares."""
    if other is None:
        return None
    if arguments.against_model is not None:
        return other.at(arguments.against_model, *arguments.part)
    return other.replace(model=task.model) if other.model == task.model else located(arguments, other)


def seed_of(text: str) -> bytes:
    """Read a seed in hexadecimal digits, also after ``0x``, as beacons and chains write it."""
    return parse_hex(text.removeprefix("0x"), "--seed")
