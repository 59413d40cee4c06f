"""The text half of ``crynux-validate prove`` and ``audit``."""

import argparse
from pathlib import Path
from typing import Any

from crynux_validate.answers import TextScore
from crynux_validate.audits.findings import AuditFinding
from crynux_validate.audits.text_proof import MAX_PROOF_BYTES, TextProof
from crynux_validate.audits.top import OPENED, TopLogits, audit_positions
from crynux_validate.cli.audit_inputs import located_other, seed_of
from crynux_validate.cli.common import note, read_file, say, say_json
from crynux_validate.cli.progress import Progress
from crynux_validate.cli.run import located
from crynux_validate.errors import InvalidInputError
from crynux_validate.files import write_whole
from crynux_validate.tasks import TextTask


def prove(arguments: argparse.Namespace, task: TextTask, answer: TextScore, folder: Path, out: Path) -> int:
    """Write the proof of a text, from the folder that ``run`` wrote."""
    proof = TextProof.from_json(read_file(str(folder / "answer.json"), "the result", MAX_PROOF_BYTES))
    seed = _seed(arguments, task)
    if seed is not None:
        try:
            top = TopLogits.from_bytes(task, (folder / "top.bin").read_bytes())
        except OSError as error:
            raise InvalidInputError(f"cannot read {folder / 'top.bin'}: {error.strerror or error}") from error
        places = audit_positions(seed, task, answer, proof.token_ids, arguments.positions)
        proof = TextProof(task.digest, proof.token_ids, top.open(places))
    proof.check(task, answer)
    path = out / "proof.json"
    try:
        out.mkdir(parents=True, exist_ok=True)
        write_whole(path, proof.to_json().encode())
    except OSError as error:
        raise InvalidInputError(f"{path} cannot be written: {error.strerror or error}") from error
    shown = 0 if proof.top is None else len(proof.top.rows)
    say(f"{path}: {sum(map(len, proof.token_ids))} tokens, {shown} opened positions, {path.stat().st_size} bytes")
    return 0


def audit(arguments: argparse.Namespace, task: TextTask, answer: TextScore, settings: dict[str, Any]) -> int:
    """Audit a text; 0 where it is as an honest one, otherwise 1."""
    proof = TextProof.from_json(read_file(arguments.proof, "the proof", MAX_PROOF_BYTES))
    settings |= {"seed": _seed(arguments, task), "count": arguments.positions}
    from crynux_validate.pipelines.text.audit import TextAuditor, prepared

    _, _, found = prepared(task, answer, proof, **settings)
    if found is None:
        task = located(arguments, task)
        settings["against"] = located_other(arguments, settings["against"], task)
        note(f"loading {task.model} ...")
        with (
            TextAuditor.for_task(task, arguments.device) as auditor,
            Progress("reading", sum(map(len, proof.token_ids)), "tokens") as progress,
        ):
            found = auditor.audit(task, answer, proof, **settings, whole=arguments.whole, on_progress=progress.of)
    if arguments.json:
        say_json(found.to_dict())
    else:
        say(f"task         {task.digest}")
        say(str(found))
    return 0 if found.finding is AuditFinding.NOISE else 1


def _seed(arguments: argparse.Namespace, task: TextTask) -> bytes | None:
    if task.binding != "top":
        if arguments.seed is not None:
            raise InvalidInputError(f"--seed is given, but the task binds {task.binding} alone; leave it out")
        return None
    if arguments.seed is None:
        raise InvalidInputError("--seed is missing: the task binds the largest logits, and a seed draws positions")
    return seed_of(arguments.seed)


def add_positions(parser: argparse.ArgumentParser) -> None:
    """Give ``prove`` and ``audit`` how many positions are drawn."""
    parser.add_argument(
        "--positions", type=int, default=OPENED, metavar="N", help="how many positions the seed draws; default: 32"
    )
