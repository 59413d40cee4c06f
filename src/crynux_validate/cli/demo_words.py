"""What the demo tells: of every task and of the end, in words and as JSON."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from crynux_validate.cli.audit_told import told_audit
from crynux_validate.cli.demo_network import DRAWN_STEPS, FUNDS, STAKE
from crynux_validate.cli.demo_node import CHEATS, PROOF
from crynux_validate.cli.demo_output import MODELS
from crynux_validate.errors import InvalidInputError

if TYPE_CHECKING:
    from crynux_validate import ImageResult
    from crynux_validate.cli.demo_network import DemoNode, Network, Round

PASSES: Final = "fewer-steps"
"""The cheat that hashes hardly see."""


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
    from crynux_validate import verify_draw
    from crynux_validate.answers import similarity_score

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
        f"  {'node':<7} {'GPU model':<33} {'computes as':<15} {'distance to the others':<24} "
        f"{'finding':<11} {'audit':<7} {'stake':>5}"
    )
    for node in shown:
        own = done.results[node.id].score
        apart = "  ".join(
            f"{other.id}: {similarity_score(own, done.results[other.id].score)}" for other in shown if other is not node
        )
        before, after = done.stakes[node.id]
        stake = f"{before}" if before == after else f"{before} -> {after}"
        lines.append(
            f"  {node.id:<7} {node.card!s:<33} {node.kind:<15} {apart:<24} {verdict.findings[node.id]:<11} "
            f"{done.audits[node.id].finding:<7} {stake:>5}"
        )
    lines += [f"  pixels: {text}" for text in honest_differences(done, shown)]
    for node in shown:
        if node.cheat != "none":
            lines += [f"  {describe_cheat(node, done)}", f"  {describe_audit(node, done)}"]
    return "\n".join(lines)


def honest_differences(done: "Round", nodes: "list[DemoNode]") -> list[str]:
    """Say for each pair of honest members by how much their pixels differ."""
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


def describe_audit(node: "DemoNode", done: "Round") -> str:
    """Say what the audit of a cheat found."""
    told = told_audit(done.audits[node.id].to_dict())
    wrong = [part for part in told.parts if part.finding is told.finding]
    drawn = ", ".join(str(step.step) for step in done.audits[node.id].steps)
    worst = max(wrong, key=lambda part: part.times or 0)
    times = "" if not worst.times else f", off by {worst.times:,.0f} times what honest machines may be"
    return f"an audit of {node.id}'s steps {drawn} says {told.finding}: {worst.name}{times}"


def audit_again(out: Path, done: "Round", nodes: "list[DemoNode]") -> dict[str, str]:
    """Return the commands that audit the most telling answer again, and that show all of it on a page."""
    node = next((node.id for node in nodes if node.cheat != "none" and node.id in done.group.members), None)
    node = node or done.group.members[0]
    folder = out / done.group.id / node
    return {
        "audit it again": f"crynux-validate audit {folder}/task.json {folder}/answer.bin {folder}/{PROOF} "
        f"--seed {done.seed.hex()} --steps {DRAWN_STEPS} --model {out}/{MODELS[0]}",
        "see it on one page": f"crynux-validate report {out}/demo.db {done.group.id} --result {node}={folder} "
        f"--out {out}/report.html",
    }


def most_telling(rounds: "list[Round]", nodes: "list[DemoNode]") -> "Round":
    """Return the first round with a cheat in its group, or the last one."""
    cheats = {node.id for node in nodes if node.cheat != "none"}
    return next((done for done in rounds if cheats & set(done.group.members)), rounds[-1])


def summarize(network: "Network", rounds: "list[Round]") -> dict[str, Any]:
    """Return what happened, as JSON values."""
    from crynux_validate import MemoryLedger
    from crynux_validate.ledger import verify_chain

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
                    "audit_seed": done.seed.hex(),
                    "audits": {node: audit.to_dict() for node, audit in done.audits.items()},
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
    lines += [f"  to {what}: {command}" for what, command in summary["audit_again"].items()]
    if all(node["cheat"] != PASSES for node in summary["nodes"].values()):
        lines.append(f"  a cheat that the hash lets pass, and an audit finds: crynux-validate demo --cheat {PASSES}")
    lines.append(f"\nlook at {summary['picture']} ({summary['seconds']} s in all)")
    return "\n".join(lines)
