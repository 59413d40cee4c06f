"""``crynux-validate prove`` and ``audit``: a node shows a part of its work, and anybody computes it again."""

import argparse
from pathlib import Path
from typing import Any, Final

import crynux_validate
from crynux_validate.answers import MAX_ANSWER_BYTES, ImageScore, TextScore, answer_from_bytes
from crynux_validate.audits.findings import AuditFinding
from crynux_validate.audits.image import ImageAudit
from crynux_validate.audits.layout import check_traced
from crynux_validate.audits.proof import TraceProof
from crynux_validate.audits.steps import audit_steps
from crynux_validate.audits.trace import Trace
from crynux_validate.cli import audit_inputs, audit_text
from crynux_validate.cli.common import Commands, add_device_flag, add_json_flag, note, read_file, say, say_json
from crynux_validate.cli.progress import Progress
from crynux_validate.cli.run import add_part_flag, check_model, located
from crynux_validate.errors import InvalidInputError
from crynux_validate.files import read_limited
from crynux_validate.tasks import MAX_TASK_BYTES, ImageTask, Task, TextTask, task_from_json

_RIGHT: Final = (AuditFinding.MATCH, AuditFinding.NOISE)


def add_parser(commands: Commands) -> None:
    """Add both commands."""
    prover = commands.add_parser(
        "prove",
        help="show a part of the work of this node, for an audit",
        description="Write what an audit asks for, from the folder that `run --out` wrote. For an image task with "
        "binding trace: the proofs of the steps that the seed draws, one file for each image with a drawn step. For "
        "a text: the tokens, and with binding top the largest logits of the positions that the seed draws, in "
        "proof.json.",
    )
    prover.add_argument("folder", metavar="DIR", help="what `crynux-validate run` wrote")
    prover.add_argument("--out", metavar="DIR", help="where to write the proofs; the same folder by default")
    _add_draw(prover)
    prover.set_defaults(main=prove)
    auditor = commands.add_parser(
        "audit",
        help="compute a part of an answer again",
        description="Images: compute the steps that the seed draws again, starting from the node's proof, and say "
        "whether each is what the task asks for. Texts: read the text in one pass, and say whether the task would "
        "choose its tokens. Exit code 0: every finding is MATCH or NOISE. 1: one is CHEAT or INCOMPARABLE. 2: bad "
        "input.",
    )
    auditor.add_argument("task", metavar="TASK.json", help="the task")
    auditor.add_argument("answer", metavar="ANSWER.bin", help="the node's answer, as it was committed to")
    auditor.add_argument(
        "proof", metavar="PROOF", help="what `crynux-validate prove` wrote; of a text also answer.json"
    )
    _add_draw(auditor)
    auditor.add_argument("--model", metavar="DIR", help="the local folder of a model that the task names by its digest")
    add_part_flag(auditor)
    audit_inputs.add_options(auditor)
    auditor.add_argument(
        "--allow-unpinned", action="store_true", help="accept a model revision that can change, such as a branch"
    )
    add_device_flag(auditor)
    add_json_flag(auditor)
    auditor.set_defaults(main=audit)


def _add_draw(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--seed",
        metavar="HEX",
        help="1 to 256 bytes that nobody knew when the answer was bound; for texts only with binding top",
    )
    parser.add_argument("--steps", type=int, metavar="N", help="how many steps the seed draws, of all images together")
    audit_text.add_positions(parser)


def prove(arguments: argparse.Namespace) -> int:
    """Write the proofs of drawn steps, or of a text."""
    folder = Path(arguments.folder)
    out = folder if arguments.out is None else Path(arguments.out)
    if not (folder / "answer.bin").exists():
        raise InvalidInputError(f"{folder} has no answer.bin; expected a folder that crynux-validate run --out wrote")
    asked = _task(str(folder / "task.json"), allow_unpinned=True)
    answer = _answer(str(folder / "answer.bin"))
    if isinstance(asked, TextTask):
        return audit_text.prove(arguments, asked, _of_text(answer), folder, out)
    task = check_traced(asked)
    _check_draw(arguments)
    drawn = audit_steps(audit_inputs.seed_of(arguments.seed), task, _of_image(answer), arguments.steps)
    trace = Trace.load(folder / "trace.bin", task)
    for image, steps in drawn.items():
        proof = trace.prove(image, steps)
        proof.check(_of_image(answer))
        path = out / f"proof-{image}.bin"
        try:
            out.mkdir(parents=True, exist_ok=True)
            proof.save(path)
        except OSError as error:
            raise InvalidInputError(f"{path} cannot be written: {error.strerror or error}") from error
        say(f"{path}: steps {', '.join(map(str, steps))} of image {image}, {path.stat().st_size} bytes")
    return 0


def audit(arguments: argparse.Namespace) -> int:
    """Audit an answer; 1 where it is not found right."""
    asked = _task(arguments.task, allow_unpinned=arguments.allow_unpinned)
    check_model(arguments, asked)
    settings = audit_inputs.settings_of(arguments, asked)
    if isinstance(asked, TextTask):
        return audit_text.audit(arguments, asked, _of_text(_answer(arguments.answer)), settings)
    task = check_traced(asked)
    _check_draw(arguments)
    answer = _of_image(_answer(arguments.answer))
    proof = TraceProof.load(arguments.proof, task)
    seed = audit_inputs.seed_of(arguments.seed)
    found = _audited(arguments, task, answer, proof, seed, settings)
    if arguments.json:
        say_json(found.to_dict())
    else:
        say(f"task         {task.digest}")
        say(str(found))
    return 0 if found.finding in _RIGHT else 1


def _audited(
    arguments: argparse.Namespace,
    task: ImageTask,
    answer: ImageScore,
    proof: TraceProof,
    seed: bytes,
    settings: dict[str, Any],
) -> ImageAudit:
    from crynux_validate.pipelines.images.audit import check_proof

    against = settings.pop("against")
    check_proof(task, answer, proof, seed, arguments.steps, **settings)
    others = [str(image) for image in audit_steps(seed, task, answer, arguments.steps) if image != proof.image]
    if others:
        note(
            f"this is image {proof.image} alone: the seed draws steps of image {', '.join(others)} too; audit its proof"
        )
    task = located(arguments, task)
    other = audit_inputs.located_other(arguments, against, task)
    note(f"loading {task.model} ...")
    settings |= {"seed": seed, "count": arguments.steps}
    with (
        crynux_validate.Runner.for_task(task, arguments.device) as runner,
        Progress("computing again", len(proof.steps), "steps") as progress,
    ):
        settings["on_progress"] = progress.of
        if other is None:
            return runner.audit(task, answer, proof, **settings)
        note(f"loading {other.model} ...")
        with crynux_validate.Runner.for_task(other, arguments.device) as against:
            return runner.audit(task, answer, proof, **settings, against=against)


def _check_draw(arguments: argparse.Namespace) -> None:
    for name in ("seed", "steps"):
        if getattr(arguments, name) is None:
            raise InvalidInputError(f"--{name} is missing: a seed draws the steps of an image task that are audited")


def _task(path: str, *, allow_unpinned: bool) -> Task:
    return task_from_json(read_file(path, "the task", MAX_TASK_BYTES), allow_unpinned=allow_unpinned)


def _of_image(answer: ImageScore | TextScore) -> ImageScore:
    if not isinstance(answer, ImageScore):
        raise InvalidInputError("the answer is a score of a text, and the task an image task; give the answer to it")
    return answer


def _of_text(answer: ImageScore | TextScore) -> TextScore:
    if not isinstance(answer, TextScore):
        raise InvalidInputError("the answer is a score of images, and the task a text task; give the answer to it")
    return answer


def _answer(path: str) -> ImageScore | TextScore:
    found = answer_from_bytes(read_limited(path, MAX_ANSWER_BYTES))
    if not isinstance(found, ImageScore | TextScore):
        raise InvalidInputError(f"{path} is {str(found)[:80]!r}; only a score can be audited")
    return found
