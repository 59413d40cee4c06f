"""``crynux-validate vectors``: check the test vectors on this machine, show them, copy them out."""

import argparse
from pathlib import Path
from typing import Any

from crynux_validate.cli.common import Commands, add_json_flag, note, say, say_json
from crynux_validate.cli.progress import Progress
from crynux_validate.encoding import shorten
from crynux_validate.errors import InvalidInputError
from crynux_validate.vectors_check import FILES, Vector, check_vector, export_vectors, load_vectors


def add_parser(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "vectors",
        help="check the test vectors on this machine, or copy them out",
        description="Test vectors say what every implementation must compute: digests of tasks, scores, commitments, "
        "policies, draws, verdicts, settlements, stakes, classes, attestations, signatures, logs, perceptual hashes. "
        "Exit code 0: all hold, 1: some do not. Vectors on which the original hash itself differs between processors "
        "are reported separately, and not counted.",
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--verify", action="store_true", help="compute all of them here, and compare")
    what.add_argument("--list", action="store_true", help="print their ids and reasons")
    what.add_argument("--show", metavar="ID", help="print one as JSON")
    what.add_argument("--export", type=Path, metavar="DIR", help="copy them to a new folder, for other programs")
    parser.add_argument(
        "--folder", type=Path, metavar="DIR", help="take the vectors from this folder instead of the shipped ones"
    )
    add_json_flag(parser)
    parser.set_defaults(main=main)


def main(arguments: argparse.Namespace) -> int:
    """Do what is asked; 1 where a vector does not hold."""
    if arguments.export is not None:
        if arguments.folder is not None:
            raise InvalidInputError("--export copies the shipped vectors; leave --folder out")
        return _export(arguments.export, as_json=arguments.json)
    vectors = load_vectors(arguments.folder)
    if arguments.verify:
        return _verify(vectors, as_json=arguments.json)
    if arguments.show is not None:
        return _show(vectors, arguments.show)
    if arguments.json:
        say_json([{"id": found.id, "reason": found.reason, "flags": list(found.flags)} for found in vectors])
    else:
        width = max(len(found.id) for found in vectors)
        for found in vectors:
            flags = f"  [{', '.join(found.flags)}]" if found.flags else ""
            say(f"{found.id:<{width}}  {found.reason}{flags}")
    return 0


def _verify(vectors: list[Vector], *, as_json: bool) -> int:
    problems: dict[str, str | None] = {}
    with Progress("checking", len(vectors), "vectors") as progress:
        for at, vector in enumerate(vectors):
            progress.show(at, f"  {vector.id}")
            problems[vector.id] = check_vector(vector)
    failed = [found for found in vectors if problems[found.id] is not None]
    broken = [found for found in failed if not found.aside]
    if as_json:
        say_json(
            {
                "holds": not broken,
                "kinds": {kind: _counts(vectors, failed, kind) for kind in FILES},
                "failed": [_row(found, problems) for found in broken],
                "failed_aside": [_row(found, problems) for found in failed if found.aside],
            }
        )
        return 1 if broken else 0
    for kind in FILES:
        say(_line(kind, _counts(vectors, failed, kind)))
    for found in failed:
        aside = " (not counted)" if found.aside else ""
        say(f"does not hold{aside}: {found.id} ({found.reason}): {problems[found.id]}")
    strict = sum(not found.aside for found in vectors)
    say(f"{len(broken)} of {strict} do not hold" if broken else f"all {strict} hold")
    return 1 if broken else 0


def _counts(vectors: list[Vector], failed: list[Vector], kind: str) -> dict[str, int]:
    counts = {}
    for name, aside in (("", False), ("aside_", True)):
        of_kind = [found for found in vectors if found.kind == kind and found.aside is aside]
        counts[f"{name}vectors"] = len(of_kind)
        counts[f"{name}hold"] = len(of_kind) - sum(found in failed for found in of_kind)
    return counts


def _line(kind: str, counts: dict[str, int]) -> str:
    width = max(map(len, FILES))
    line = f"{kind:<{width}}  {counts['hold']:>3} of {counts['vectors']:>3} hold"
    if counts["aside_vectors"]:
        line += (
            f"; not counted, as they depend on the processor: {counts['aside_hold']} of {counts['aside_vectors']} hold"
        )
    return line


def _row(vector: Vector, problems: dict[str, str | None]) -> dict[str, Any]:
    return {"id": vector.id, "reason": vector.reason, "problem": problems[vector.id]}


def _show(vectors: list[Vector], name: str) -> int:
    found = next((vector for vector in vectors if vector.id == name), None)
    if found is None:
        kinds = ", ".join(f"{kind}/..." for kind in FILES)
        raise InvalidInputError(f"no vector has the id {shorten(name)}; ids are {kinds}, and --list names them all")
    say_json(found.content)
    return 0


def _export(target: Path, *, as_json: bool) -> int:
    count = export_vectors(target)
    if as_json:
        say_json({"folder": str(target), "files": count})
    else:
        note(f"wrote {count} files to {target}; schema.json describes them")
    return 0
