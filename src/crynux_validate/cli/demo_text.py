"""``crynux-validate demo --kind text``: equal machines agree to the token, and a false declaration does not pay."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from crynux_validate.cli.common import note, say, say_json

if TYPE_CHECKING:
    from crynux_validate.answers import TextScore
    from crynux_validate.cli.demo_text_network import DemoLedger, Served, TextNetwork, TextNode
    from crynux_validate.cli.demo_text_node import Written
    from crynux_validate.tasks import TextTask

OPENINGS: Final = (
    "And the king said unto his servants,",
    "Now there was a woman in the city",
    "Blessed is the man that",
    "In the beginning",
    "And it came to pass in those days, that",
    "The fool saith in his heart,",
    "Wherefore, my brethren,",
    "And behold, a voice out of heaven",
)
NEW_TOKENS: Final = 40
TELLING: Final = ("In the beginning", 103)
"""An opening and a seed of a text that Ada and Hopper were seen to write differently, at token 28."""

MOST_TRIES: Final = 16
"""How many tasks the false declarer's class is given at most, until it is found out."""

AROUND: Final = 14
"""How many tokens are shown before and after the first that differs."""


def run_demo(out: Path, prompt: str | None, tasks: int, *, json: bool) -> int:
    """Tell the story in four parts, of one opening or of the demo's own; returns the exit code."""
    # Imported here: the other commands need none of it.
    from crynux_validate import TextTask
    from crynux_validate.cli.demo_output import Output
    from crynux_validate.cli.demo_processes import write_evidence
    from crynux_validate.cli.demo_text_network import WRITES, TextNetwork

    output = Output(out, WRITES)
    tell = note if json else say
    started = time.monotonic()
    openings = OPENINGS if prompt is None else (prompt,)
    tell("starting seven nodes (no download) ...")
    with TextNetwork(output, tell) as network:
        model = network.fetch_model()
        tell(
            f"model {model.path}, sha256 {(model.digest or '')[:16]}..., bfloat16: a small Llama that learned the "
            "language of the King James Bible, and nothing else; it continues what a task begins"
            "\nproducts are computed as the tensor cores of each card add, in our order; all else is this processor's"
        )
        task = TextTask(
            model=model,
            messages=_asking(openings[0]),
            do_sample=True,
            temperature=0.8,
            top_k=40,
            max_new_tokens=NEW_TOKENS,
            eos_token_ids=[],
            binding="logits",
        )
        network.load(task)
        with_canary = network.ledger("with-canary", canary=True)
        tell(describe_nodes(network, with_canary))
        paired = serve_paired(network, with_canary, _tasks(task, openings, tasks), tell)
        alone = describe_alone(network, with_canary, task)
        tell(alone)
        without = network.ledger("without-canary", canary=False)
        tell("\n3. the canary switched off: node-7 also claims the kernels and numerics of node-1, and is believed")
        telling = [] if prompt else [task.replace(messages=_asking(TELLING[0]), seed=TELLING[1])]
        caught = serve_until_caught(network, without, [*telling, *_tasks(task, openings, MOST_TRIES)], tell)
        evidence = [file for served in caught for file in write_evidence(without.ledger, served.group, output.claim)]
        for file in evidence:
            tell(f"   evidence that anybody can check: crynux-validate evidence {file}")
        tell("\n4. without pairing: honest nodes of two GPU models are given one task")
        mixed = judge_mixed(network, caught, tell)
    summary = {
        "model": model.digest,
        "nodes": {node.id: describe_node(node, with_canary, without) for node in network.nodes},
        "classes": [
            {"class": facts.node_class.digest, "gpu": str(facts.node_class.gpu), "nodes": [n.id for n in facts.nodes]}
            for facts in with_canary.classes()
        ],
        "groups": [group_facts(served) for served in paired],
        "without_canary": [group_facts(served) for served in caught],
        "without_pairing": mixed,
        "ledgers": [str(out / "with-canary.db"), str(out / "without-canary.db")],
        "evidence": list(map(str, evidence)),
        "balanced": with_canary.ledger.totals().balanced and without.ledger.totals().balanced,
        "seconds": round(time.monotonic() - started, 1),
    }
    if json:
        say_json(summary)
    else:
        say(describe_end(network, without, summary))
    return 0


def serve_paired(network: "TextNetwork", on: "DemoLedger", tasks: "list[TextTask]", tell: Any) -> "list[Served]":
    """Give tasks to the classes that are large enough in turn; the creator names the class."""
    tell("\n2. tasks go to machines of one class; the creator names the classes in turn")
    homes = [facts.node_class.digest for facts in on.classes() if facts.owners >= on.ledger.policy.group_size]
    done: list[Served] = []
    for at, task in enumerate(tasks):
        done.append(network.serve(on, task, on.open(task, homes[at % len(homes)])))
        tell(describe_served(done[-1], network.nodes))
    return done


def serve_until_caught(network: "TextNetwork", on: "DemoLedger", tasks: "list[TextTask]", tell: Any) -> "list[Served]":
    """Give tasks to the class of the false declarer until it was drawn and did not write what the others wrote."""
    liar = network.nodes[-1]
    home = next(facts.node_class.digest for facts in on.classes() if liar.id in [node.id for node in facts.nodes])
    done: list[Served] = []
    for task in tasks:
        done.append(network.serve(on, task, on.open(task, home)))
        tell(describe_served(done[-1], network.nodes))
        if liar.id in done[-1].group.members and done[-1].stakes[liar.id][1] < done[-1].stakes[liar.id][0]:
            return done
    tell(f"   {liar.id} was never found out: its arithmetic gave the same logits")
    return done


def judge_mixed(network: "TextNetwork", caught: "list[Served]", tell: Any) -> dict[str, Any]:
    """Let an honest node of the other GPU model write what the last group wrote, and judge them together."""
    from crynux_validate import judge

    last = caught[-1]
    first, stranger = network.nodes[0], network.nodes[3]
    members = [first, network.nodes[1], stranger]
    written = network.write(last.task, members, "without-pairing")
    scores: dict[str, TextScore] = {node.id: written[node.id].score for node in members}
    verdict = judge(scores)
    tell(f'   "{_opening(last.task)}" to {", ".join(f"{node.id} ({node.card.name})" for node in members)}:')
    tell("\n".join(f"   {line}" for line in str(verdict).splitlines()))
    difference = describe_difference(first, stranger, written[first.id], written[stranger.id])
    tell(f"{difference}\n   all three are honest; without pairing {stranger.id} would have lost its stake")
    return {**verdict.to_dict(), "first_difference": first_difference(written[first.id], written[stranger.id])}


def describe_nodes(network: "TextNetwork", ledger: "DemoLedger") -> str:
    """Return the table of what nodes declare and in which class the canary puts them."""
    home = {node.id: facts.node_class for facts in ledger.classes() for node in facts.nodes}
    lines = [
        "\n1. every node declares its GPU model, and attests its kernels, its numerics and its canary",
        f"  {'node':<7} {'declares':<32} {'computes as':<15} {'kernels':<9} {'canary':<9} class",
    ]
    for node in network.nodes:
        found = home[node.id]
        lie = "" if node.honest else f"   claims the kernels of {node.claims}; the canary says otherwise"
        if not node.honest and found == home[node.claims]:
            lie = f"   claims the kernels of {node.claims}, and computes like it"
        lines.append(
            f"  {node.id:<7} {node.card!s:<32} {node.kind:<15} {found.kernel.hex()[:8]:<9} {found.canary.hex()[:8]:<9} "
            f"{found.digest[:8]}{lie}"
        )
    return "\n".join(lines)


def describe_served(served: "Served", nodes: "list[TextNode]") -> str:
    """Return the story of one task, with its findings, for people."""
    group, verdict = served.group, served.group.verdict
    home = group.gpu_class
    where = "no class" if home is None else f"class {home.digest[:8]}, {home.gpu}"
    lines = [f'   {group.id}, {where}: "{_opening(served.task)}"']
    members = [node for node in nodes if node.id in group.members]
    right = next((node for node in members if verdict and verdict.findings[node.id] == "VALID"), members[0])
    for node in members:
        before, after = served.stakes[node.id]
        stake = f"stake {before}" if before == after else f"stake {before} -> {after}"
        finding = "no verdict" if verdict is None else verdict.findings[node.id]
        score = served.written[node.id].score.hex
        lines.append(f"     {node.id}  {node.kind:<12} logits {score[:12]}  {finding:<9} {stake}")
    lines.append(f'     says: "{_shorten("".join(served.written[right.id].pieces))}"')
    for node in members:
        if served.written[node.id].score != served.written[right.id].score:
            lines.append(describe_difference(right, node, served.written[right.id], served.written[node.id]))
    return "\n".join(lines)


def describe_difference(one: "TextNode", other: "TextNode", left: "Written", right: "Written") -> str:
    """Say at which token two texts part, and what both say around it."""
    at = first_difference(left, right)
    if at is None:
        alike = "the same" if left.score == right.score else "other"
        return f"     {one.id} and {other.id} wrote the same {len(left.tokens)} tokens, from {alike} logits"
    before = "".join(left.pieces[max(0, at - AROUND) : at])
    lines = [f"     {one.id} and {other.id} part at token {at + 1} of {len(left.tokens)}, after {before.strip()!r}:"]
    for node, written in ((one, left), (other, right)):
        lines.append(f"       {node.id}  {''.join(written.pieces[at : at + AROUND]).strip()!r}")
    return "\n".join(lines)


def describe_alone(network: "TextNetwork", on: "DemoLedger", task: "TextTask") -> str:
    """Say what the false declarer's class gets."""
    from crynux_validate.errors import NotEnoughNodes

    liar = network.nodes[-1]
    home = next(facts for facts in on.classes() if liar.id in [node.id for node in facts.nodes])
    try:
        on.open(task, home.node_class.digest)
    except NotEnoughNodes as error:
        return f"   {liar.id} served nobody. Asked for its class by name: {error}"
    return f"   {liar.id} is one of {len(home.nodes)} in its class: the canary cannot tell it apart"


def describe_node(node: "TextNode", with_canary: "DemoLedger", without: "DemoLedger") -> dict[str, Any]:
    """Return a node's facts as JSON values."""
    from crynux_validate.cli.demo_text_network import FUNDS, STAKE

    def earned(on: "DemoLedger") -> dict[str, int]:
        return {"stake": on.ledger.node(node.id).stake, "earned": on.ledger.account(node.owner) - FUNDS + STAKE}

    return {
        "declares": node.card.to_dict(),
        "numeric_kind": node.kind,
        "honest": node.honest,
        "with_canary": earned(with_canary),
        "without_canary": earned(without),
    }


def group_facts(served: "Served") -> dict[str, Any]:
    """Return what became of a task as JSON values."""
    verdict, home = served.group.verdict, served.group.gpu_class
    return {
        "group": served.group.id,
        "opening": _opening(served.task),
        "class": None if home is None else home.digest,
        "members": list(served.group.members),
        "scores": {name: written.score.hex for name, written in served.written.items()},
        "texts": {name: "".join(written.pieces) for name, written in served.written.items()},
        **({} if verdict is None else verdict.to_dict()),
    }


def describe_end(network: "TextNetwork", without: "DemoLedger", summary: dict[str, Any]) -> str:
    """Return the end of the story for people."""
    liar = network.nodes[-1]
    facts = summary["nodes"][liar.id]
    balanced = "balanced" if summary["balanced"] else "NOT BALANCED"
    lines = [
        f"\nwhat the false declaration brought {liar.id}:",
        f"  with the canary:    earned {facts['with_canary']['earned']}, stake {facts['with_canary']['stake']}",
        f"  without the canary: earned {facts['without_canary']['earned']}, stake {facts['without_canary']['stake']} "
        f"({without.ledger.totals().burnt} burnt)",
        f"  accounts, stakes, fees and burnt money are {balanced} on both ledgers",
        "  the ledgers are kept: " + ", ".join(f"crynux-validate ledger show {file}" for file in summary["ledgers"]),
        f"\n{summary['seconds']} s in all",
    ]
    return "\n".join(lines)


def first_difference(left: "Written", right: "Written") -> int | None:
    """Return the position of the first token that differs, counted from 0; None where all are equal."""
    pairs = zip(left.tokens, right.tokens, strict=False)
    at = next((at for at, (a, b) in enumerate(pairs) if a != b), None)
    if at is None and len(left.tokens) != len(right.tokens):
        return min(len(left.tokens), len(right.tokens))
    return at


def _tasks(task: "TextTask", openings: Sequence[str], count: int) -> "list[TextTask]":
    """Return tasks for one opening after the other, with a seed each."""
    return [task.replace(messages=_asking(openings[at % len(openings)]), seed=100 + at) for at in range(count)]


def _asking(opening: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": opening}]


def _opening(task: "TextTask") -> str:
    return str(task.messages[0]["content"]) if task.messages else ""


def _shorten(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 90 else f"{text[:87]}..."
