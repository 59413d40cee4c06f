"""``crynux-validate demo``: several machines run image tasks, one cheats, and the ledger finds out."""

import argparse
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crynux_validate.cli.common import Commands, add_json_flag, note, say, say_json, show_progress
from crynux_validate.cli.demo_node import CHEATS
from crynux_validate.errors import InvalidInputError, MissingExtraError
from crynux_validate.lazy import installed

if TYPE_CHECKING:
    from crynux_validate import ImageResult
    from crynux_validate.cli.demo_network import DemoNode, Network, Round


CHEAT = "other-prompt"
THRESHOLD = 16
STEPS = 25
CARD_STEPS = 4
"""Of the pictures in the arithmetic of cards: some seconds each."""


def add_parser(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "demo",
        help="strangers' machines, a cheat, and what becomes of it",
        description="With --kind image (the default) four processes that compute with different bits join a ledger and "
        "run image tasks with a small Stable Diffusion model that draws coloured shapes; the fourth cheats. Shows "
        "distances, verdicts and stakes, and writes a picture that explains them. With --kind text seven processes of "
        "two numeric kinds let a small Llama continue Bible verses under two declared GPU models, and one declares a "
        "model that it does not have. Needs no GPU, no download and no network.",
        epilog="cheats: " + "; ".join(f"{name}: {words}" for name, (words, _) in CHEATS.items()),
    )
    parser.add_argument("--kind", choices=("image", "text"), default="image", help="default: %(default)s")
    parser.add_argument(
        "--out",
        default="demo-output",
        metavar="DIR",
        help="where to write; what is there and of no earlier demo is an error; default: %(default)s",
    )
    parser.add_argument("--tasks", type=int, default=4, metavar="N", help="at least so many, default: %(default)s")
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
    with Network(cheat, policy, out, tell, show_progress) as network:
        model = network.fetch_model()
        tell(f"model {model.path}, sha256 {(model.digest or '')[:16]}...: {describe_model(prompts)}")
        task = ImageTask(model=model, prompt=prompts[0], seed=1, steps=STEPS, width=SIDE, height=SIDE, dtype="bfloat16")
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
        cards = cards_beside(network.draw_as_cards(task.replace(steps=CARD_STEPS)))
        tell(
            f'\nthe arithmetic of an RTX 4090 (Ada) and of an H100 (Hopper), in our order: "{task.prompt}", '
            f"{CARD_STEPS} steps\n  {cards['share']:.0%} of values differ, by {cards['mean']:.2f} on average and "
            f"{cards['most']} at most; hash distance {cards['distance']}"
        )
        picture = draw_picture(out.claim("demo.png"), most_telling(rounds, network.nodes), network.nodes)
        summary = summarize(network, rounds)
    summary |= {"ledger": str(out.path / "demo.db"), "evidence": list(map(str, evidence))}
    summary |= {"cards": cards, "picture": str(picture), "seconds": round(time.monotonic() - started, 1)}
    if arguments.json:
        say_json(summary)
    else:
        say(describe_summary(summary))
    return 0


def cards_beside(results: "Mapping[str, ImageResult]") -> dict[str, Any]:
    """Return how far the pictures of two cards are apart: share of values, mean, most, distance of hashes."""
    import numpy as np

    from crynux_validate import hamming, image_hash

    first, second = (result.images[0] for result in results.values())
    apart = np.abs(np.asarray(first, np.int32) - np.asarray(second, np.int32))
    distance = hamming(image_hash(first), image_hash(second))
    return {
        "cards": list(results),
        "share": round(float((apart > 0).mean()), 4),
        "mean": round(float(apart.mean()), 4),
        "most": int(apart.max()),
        "distance": distance,
    }


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


def describe_model(prompts: Sequence[str]) -> str:
    """Say what the small model learned to draw, and which words of the prompts it never saw."""
    from crynux_validate.testing.trained import DRAWS, never_drawn

    lines = ["a small Stable Diffusion that learned to draw one shape on a background, and nothing else:"]
    lines += [f"  {kind:<12} {', '.join(words)}" for kind, words in DRAWS.items()]
    if unknown := never_drawn(" ".join(prompts)):
        lines.append(f"  it never saw {', '.join(map(repr, unknown))}, and makes of that what it can")
    return "\n".join(lines)


def describe_round(number: int, done: "Round", nodes: "list[DemoNode]") -> str:
    """Return the story of one task, with its table, for people."""
    from crynux_validate import similarity_score, verify_draw

    group, verdict = done.group, done.group.verdict
    if group.draw is None or verdict is None:
        raise InvalidInputError(f"{group.id} is {group.status}, not settled")
    fair = "verified" if verify_draw(group.draw, task=done.task, policy=group.policy) else "NOT REPEATABLE"
    lines = [
        f'\ntask {number}: "{done.task.prompt}", seed {done.task.seed}, {done.task.steps} steps',
        f"  {group.id} drawn by beacon round {group.beacon_round} ({fair}): {', '.join(group.members)}",
    ]
    shown = [node for node in nodes if node.id in group.members]
    lines.append(
        f"  {'node':<7} {'GPU model':<33} {'computes as':<15} {'distance to the others':<28} "
        f"{'finding':<11} {'stake':>5}"
    )
    for node in shown:
        own = done.results[node.id].score
        apart = "  ".join(
            f"{other.id}: {similarity_score(own, done.results[other.id].score)}" for other in shown if other is not node
        )
        before, after = done.stakes[node.id]
        stake = f"{before}" if before == after else f"{before} -> {after}"
        lines.append(
            f"  {node.id:<7} {node.card!s:<33} {node.kind:<15} {apart:<28} {verdict.findings[node.id]:<11} {stake:>5}"
        )
    lines += [f"  pixels: {text}" for text in honest_differences(done, shown)]
    for node in shown:
        if node.cheat != "none":
            lines.append(f"  {describe_cheat(node, done)}")
    return "\n".join(lines)


def honest_differences(done: "Round", nodes: "list[DemoNode]") -> list[str]:
    """Say for each pair of honest members by how much their pixels differ."""
    from itertools import combinations

    import numpy as np

    texts = []
    for a, b in combinations([node for node in nodes if node.cheat == "none"], 2):
        left, right = (np.asarray(done.results[node.id].images[0], dtype=np.int16) for node in (a, b))
        apart = np.abs(left - right)
        differing = int((apart > 0).sum())
        how = (
            f"differ in {differing:,} of {apart.size:,} values, by {apart.max()} at most" if differing else "are equal"
        )
        texts.append(f"{a.id} and {b.id} {how}")
    return texts


def describe_cheat(node: "DemoNode", done: "Round") -> str:
    """Say how far the cheat came."""
    verdict = done.group.verdict
    words = f"{node.id} cheated ({CHEATS[node.cheat][0]})"
    if verdict is None or verdict.delivered_score is None:
        burnt = sum(moved.amount for moved in done.group.transfers if moved.why == "no_quorum")
        return f"{words}: no quorum, nobody was paid, and {burnt} of the fee were burnt"
    finding, distance = verdict.findings[node.id], verdict.distances.get(node.id)
    limit = done.group.policy.threshold
    if finding == "VALID":
        return f"{words} and PASSED: distance {distance} is below the threshold {limit}, it was paid like the others"
    if finding == "BORDERLINE":
        return f"{words}: distance {distance}, not below the threshold {limit}: not paid, but too near to be slashed"
    return f"{words} and was found out: distance {distance}, threshold {limit}"


def most_telling(rounds: "list[Round]", nodes: "list[DemoNode]") -> "Round":
    """Return the first round with a cheat in its group, or the last one."""
    cheats = {node.id for node in nodes if node.cheat != "none"}
    return next((done for done in rounds if cheats & set(done.group.members)), rounds[-1])


def summarize(network: "Network", rounds: "list[Round]") -> dict[str, Any]:
    """Return what happened, as JSON values."""
    from crynux_validate import MemoryLedger, verify_chain
    from crynux_validate.cli.demo_network import FUNDS, STAKE

    ledger = network.ledger
    events = ledger.events()
    verify_chain(events, events[-1].digest)
    groups = []
    for done in rounds:
        verdict = done.group.verdict
        if verdict is not None:
            groups.append(
                {
                    "group": done.group.id,
                    "prompt": done.task.prompt,
                    **verdict.to_dict(),
                    "distances": dict(verdict.distances),
                }
            )
    return {
        "nodes": {
            node.id: {
                "gpu_model": node.card.to_dict(),
                "numeric_kind": node.kind,
                "cheat": node.cheat,
                "tasks": sum(node.id in done.group.members for done in rounds),
                "stake": ledger.node(node.id).stake,
                "earned": ledger.account(node.owner) - FUNDS + STAKE,
            }
            for node in network.nodes
        },
        "groups": groups,
        "burnt": ledger.totals().burnt,
        "balanced": ledger.totals().balanced,
        "events": len(events),
        "log_head": events[-1].digest,
        "replay_equal": MemoryLedger.replay(events).totals() == ledger.totals(),
    }


def describe_summary(summary: dict[str, Any]) -> str:
    """Return the end of the story for people."""
    lines = ["\nafter all tasks:"]
    for name, node in summary["nodes"].items():
        did = "honest" if node["cheat"] == "none" else CHEATS[node["cheat"]][0]
        lines.append(f"  {name}  served {node['tasks']} times, earned {node['earned']}, stake {node['stake']}  ({did})")
    balanced = "balanced" if summary["balanced"] else "NOT BALANCED"
    replay = "a replay of it gives the same ledger" if summary["replay_equal"] else "a REPLAY of it DIFFERS"
    lines.append(f"  burnt {summary['burnt']}; accounts, stakes, fees and burnt money are {balanced}")
    lines.append(f"  {summary['events']} events, head {summary['log_head'][:16]}...; {replay}")
    lines.append(f"  the ledger is kept: crynux-validate ledger show {summary['ledger']}")
    lines.append(f"\nlook at {summary['picture']} ({summary['seconds']} s in all)")
    return "\n".join(lines)
