"""``crynux-validate demo``: several machines run image tasks, one cheats, and the ledger or an audit finds out."""

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING

from crynux_validate.cli.common import Commands, add_json_flag, note, say, say_json
from crynux_validate.cli.demo_node import CHEATS
from crynux_validate.errors import InvalidInputError, MissingExtraError
from crynux_validate.lazy import installed

if TYPE_CHECKING:
    from crynux_validate.cli.demo_network import Round


CHEAT = "other-prompt"
THRESHOLD = 16
STEPS = 25
CARD_STEPS = 2
"""Of the pictures in the arithmetic of cards: some seconds each."""


def add_parser(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "demo",
        help="strangers' machines, a cheat, and what becomes of it",
        description="With --kind image (the default) four processes that compute with different bits join a ledger and "
        "run image tasks with a small Stable Diffusion model that draws coloured shapes; the fourth cheats. "
        "An auditor computes five steps of every answer again, and finds cheats that the hash lets pass. Shows "
        "distances, verdicts, audits and stakes, and writes a picture that explains them. With --kind text seven "
        "processes of two numeric kinds let a small Llama continue Bible verses under two declared GPU models, and one "
        "declares a model that it does not have. Needs no GPU, no download and no network.",
        epilog="cheats: " + "; ".join(f"{name}: {words}" for name, (words, _) in CHEATS.items()),
    )
    parser.add_argument("--kind", choices=("image", "text"), default="image", help="default: %(default)s")
    parser.add_argument(
        "--out",
        default="demo-output",
        metavar="DIR",
        help="where to write; files there that no earlier demo wrote are an error; default: %(default)s",
    )
    parser.add_argument(
        "--tasks",
        type=int,
        default=4,
        metavar="N",
        help="how many at least: there is always one with the cheat; default: %(default)s",
    )
    parser.add_argument("--prompt", metavar="TEXT", help="what every task asks for; default: prompts of the demo's own")
    parser.add_argument("--cheat", choices=CHEATS, help=f"for images, default: {CHEAT}")
    parser.add_argument("--threshold", type=int, help=f"for images, 1 to 64, default: {THRESHOLD}")
    add_json_flag(parser)
    parser.set_defaults(main=main)


def main(arguments: argparse.Namespace) -> int:
    """Run the demo."""
    _check_packages(arguments.kind)
    # Imported here: the other commands need none of it.
    from crynux_validate import ImageTask, Policy
    from crynux_validate.cli.demo_network import MAX_TASKS, PROMPTS, SIDE, STAKE, WRITES, Network
    from crynux_validate.cli.demo_output import Output
    from crynux_validate.cli.demo_picture import draw_picture
    from crynux_validate.cli.demo_processes import write_evidence
    from crynux_validate.cli.demo_words import (
        audit_again,
        cards_beside,
        describe_model,
        describe_round,
        describe_summary,
        most_telling,
        summarize,
    )

    if not 1 <= arguments.tasks <= MAX_TASKS:
        raise InvalidInputError(f"--tasks is {arguments.tasks}; expected 1 to {MAX_TASKS}")
    if arguments.kind == "text":
        return _main_of_text(arguments)
    cheat = CHEAT if arguments.cheat is None else arguments.cheat
    policy = Policy(min_stake=STAKE, threshold=THRESHOLD if arguments.threshold is None else arguments.threshold)
    out = Output(Path(arguments.out), WRITES)
    tell = note if arguments.json else say
    started = time.monotonic()
    prompts = PROMPTS if arguments.prompt is None else (arguments.prompt,)
    tell("starting four nodes (no download) ...")
    with Network(cheat, policy, out, tell) as network:
        model = network.fetch_model()
        tell(f"model {model.path}, sha256 {(model.digest or '')[:16]}...: {describe_model(prompts)}")
        task = ImageTask(
            model=model, prompt=prompts[0], seed=1, steps=STEPS, width=SIDE, height=SIDE, dtype="bfloat16",
            binding="trace",
        )  # fmt: skip
        tell("the nodes load it and join the ledger:")
        network.join(task)
        rounds: list[Round] = []
        evidence: list[Path] = []
        for done in network.rounds(task, prompts, arguments.tasks):
            rounds.append(done)
            tell(describe_round(len(rounds), done, network.nodes))
            for file in write_evidence(network.ledger, done.group, out.claim(done.group.id).joinpath):
                evidence.append(file)
                tell(f"  evidence that anybody can check: crynux-validate evidence {file}")
        cards = cards_beside(network.draw_as_cards(task.replace(steps=CARD_STEPS, binding="pixels")))
        tell(
            "\nthe arithmetic of an RTX 4090 (Ada) and of an H100 (Hopper), in our order: "
            f'"{task.prompt}", {CARD_STEPS} steps\n'
            f"  {cards['share']:.0%} of values differ, by {cards['mean']:.2f} on average and "
            f"{cards['most']} at most; hash distance {cards['distance']}"
        )
        telling = most_telling(rounds, network.nodes)
        picture = draw_picture(out.claim("demo.png"), telling, network.nodes)
        summary = summarize(network, rounds)
        again = audit_again(out.path, telling, network.nodes)
    summary |= {"ledger": str(out.path / "demo.db"), "evidence": list(map(str, evidence))}
    summary |= {
        "audit_again": again,
        "cards": cards,
        "picture": str(picture),
        "seconds": round(time.monotonic() - started, 1),
    }
    if arguments.json:
        say_json(summary)
    else:
        say(describe_summary(summary))
    return 0


def _check_packages(kind: str) -> None:
    """Say what to install before anything is written or started."""
    for package in ("torch", "transformers", "PIL", "sqlalchemy", *(("diffusers",) if kind == "image" else ())):
        if not installed(package):
            raise MissingExtraError("the demo", "all", package)


def _main_of_text(arguments: argparse.Namespace) -> int:
    from crynux_validate.cli.demo_text import run_demo

    for name in ("cheat", "threshold"):
        if getattr(arguments, name) is not None:
            raise InvalidInputError(f"--{name} is for images: text is compared for equality; leave it out")
    return run_demo(Path(arguments.out), arguments.prompt, arguments.tasks, json=arguments.json)
