"""From an audit to a group: one node works, an auditor draws steps of its work, and a group decides where it must.

Needs the extras ``image`` and ``sql``. The nodes are processes that compute with other bits than the auditor does;
`docs/tutorials/audit.md` walks through it.
"""

import tempfile
from pathlib import Path

import crynux_validate as cv
from crynux_validate.audits import AuditFinding, audit_steps
from crynux_validate.errors import FakeHardwareError
from crynux_validate.testing import ManualClock, fake_hardware, tiny_image_model
from crynux_validate.testing.forged import forged_result

STEPS = 5


def kinds() -> dict[str, fake_hardware.NumericKind]:
    """Three machines of two kinds, neither of which is the auditor's; where that cannot be imitated, all are alike."""
    try:
        known = {kind.name: kind for kind in fake_hardware.kinds()}
    except FakeHardwareError:
        native = fake_hardware.NumericKind("native", {}, "this processor as it is")
        return {"node-1": native, "node-2": native, "node-3": native}
    return {"node-1": known["aten-default"], "node-2": known["mkl-compatible"], "node-3": known["aten-default"]}


def audited(
    auditor: cv.Runner, task: cv.ImageTask, node: str, result: cv.ImageResult, beacon: cv.ledger.LocalBeacon
) -> bool:
    """Commit, draw, prove, audit; returns whether the node's work stands."""
    # Commit: the node hands over its answer, which binds every step. From here on it can change nothing.
    answer, bound_at = result.score, 1_000
    assert answer.result_digest is not None
    print(f"{node} is bound to the hash {answer.hex} and to the root {answer.result_digest.hex()[:16]}...")
    # Draw: the next value of the beacon, which nobody knew when the answer was bound.
    later = beacon.next_round(bound_at)
    seed = beacon.value(later, now=later * beacon.period)
    assert seed is not None
    drawn = audit_steps(seed, task, answer, STEPS)
    # Prove: the node shows these steps of what it kept. (One that shows nothing in time counts as found.)
    proof = result.prove(0, drawn[0])
    print(f"  steps {list(proof.steps)} were drawn; the proof has {len(proof.to_bytes())} bytes")
    # Audit: the auditor computes them again.
    found = auditor.audit(task, answer, proof, seed=seed, count=STEPS)
    print(f"  {found}".replace("\n", "\n  "))
    return found.finding in (AuditFinding.MATCH, AuditFinding.NOISE)


def judged(file: Path, task: cv.ImageTask, results: dict[str, cv.ImageResult], accused: str) -> None:
    """Dispute and settle: a group of three with the accused node in it, on a ledger in a file.

    Honest machines were at most 2 bits apart in float32 (docs/measurements/images.md), so 4 bits cost a stake here. At
    the default thresholds, which leave room for bfloat16, such a group would acquit.
    """
    clock = ManualClock(2_000_000)
    policy = cv.Policy(min_stake=1_000, threshold=4, slash_threshold=4)
    with cv.SqlLedger(f"sqlite:///{file}", policy, clock=clock, ledger_id="disputes") as ledger:
        for node in results:
            ledger.deposit(f"owner-of-{node}", 1_000)
            ledger.join(node, owner=f"owner-of-{node}", gpu=cv.GpuModel("NVIDIA GeForce RTX 4090", 24), stake=1_000)
        ledger.deposit("auditor", 300)
        group = ledger.open_group(task, creator="auditor", fee=300)
        clock.advance(1)  # the beacon round becomes public
        group = ledger.draw(group.id)
        assert accused in group.members, "only three nodes have joined"
        openings = {node: cv.Opening.of(results[node].score) for node in group.members}
        for node, opening in openings.items():
            ledger.commit(group.id, node, opening.commitment(group.draw_digest, node=node))
        for node, opening in openings.items():
            ledger.reveal(group.id, node, opening)
        # The accused has to open the answer that was audited: a network takes another one for a confession.
        assert openings[accused].answer_bytes == results[accused].score.to_bytes()
        group = ledger.settle(group.id)
        assert group.verdict is not None
        print(f"{group.id}: {dict(group.verdict.findings)}, distances {dict(group.verdict.distances)}")
        print("stakes:", {node: ledger.node(node).stake for node in results}, "balanced:", ledger.totals().balanced)
        assert ledger.node(accused).stake == 0
        assert all(ledger.node(node).stake == 1_000 for node in results if node != accused)
        checked = cv.verify_evidence(ledger.evidence(group.id, accused))
        print(f"anybody can check that {accused} is {checked.finding.value}: {len(checked.shown)} statements hold")


def main() -> None:
    """Audit an honest node and a cheat; a group decides about the cheat."""
    with tempfile.TemporaryDirectory() as folder:
        model = tiny_image_model(Path(folder) / "small-sd")
        task = cv.ImageTask(
            model=model, prompt="a big blue star on sand", seed=7, steps=25, width=128, height=128,
            dtype="float32", binding="trace",
        )  # fmt: skip
        machines = kinds()
        with fake_hardware.Workers(machines.values()) as workers, cv.Runner.for_task(task, "cpu") as auditor:
            working = {node: workers[machines[node].name].submit(cv.run, task, "cpu") for node in ("node-1", "node-2")}
            cheap = workers[machines["node-3"].name].submit(cv.run, task.replace(steps=6), "cpu")
            results = {node: work.result() for node, work in working.items()}
            # The third node computes a quarter of the steps, and makes up the rest.
            results["node-3"] = forged_result(task, cheap.result())
            beacon = cv.ledger.LocalBeacon(b"for the example; a network takes a public one")
            assert audited(auditor, task, "node-1", results["node-1"], beacon), "an honest node has nothing to fear"
            assert not audited(auditor, task, "node-3", results["node-3"], beacon)
            judged(Path(folder) / "disputes.db", task, results, accused="node-3")


if __name__ == "__main__":
    main()
