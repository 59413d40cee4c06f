"""An old signed commitment fits no other draw: after a backup was restored, with another task, policy or member (L8).

The ledger's log is gone back to an older state, its groups get the same ids again, and somebody has kept what the
members had handed in before. Honest nodes answer once for each draw; nobody else can answer for them.
"""

import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("sqlalchemy", reason="needs the extra 'sql'")

import crynux_validate as cv
from crynux_validate.errors import CommitmentMismatchError, SignatureError
from crynux_validate.testing import ManualClock
from crynux_validate.testing.conformance.signed import key_of
from tests.ledger.helpers import CARD, CHEAT, HONEST, POLICY, TASK
from tests.ledger.postgresql import fast_folder

KEYS = {f"n{at}": key_of(f"n{at}") for at in range(3)}
OTHER_TASK = TASK.replace(prompt="a blue cat")


@pytest.fixture(scope="module", autouse=True)
def backend() -> None:
    """Files that can be copied."""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    made = Path(fast_folder() or tmp_path) / f"restored-{tmp_path.name}"
    made.mkdir()
    yield made
    shutil.rmtree(made)


@dataclass
class Kept:
    """What somebody has kept of a group: commitments, openings and signatures of its members."""

    group: cv.Group
    openings: Mapping[str, cv.Opening]
    signatures: Mapping[str, bytes]

    @property
    def draw(self) -> cv.machines.Draw:
        assert self.group.draw is not None
        return self.group.draw


def ledger_at(
    path: Path, clock: ManualClock, policy: cv.Policy | None = None, secret: bytes = b"first"
) -> cv.SqlLedger:
    return cv.SqlLedger(
        f"sqlite:///{path}", policy, ledger_id="test", clock=clock, beacon=cv.ledger.LocalBeacon(secret), timeout=5
    )


def filled(path: Path, clock: ManualClock, policy: cv.Policy = POLICY, *, signed: bool = True) -> cv.SqlLedger:
    """Three nodes, all of which are members of every group; with keys, or without."""
    ledger = ledger_at(path, clock, policy)
    ledger.deposit("app", 10_000)
    for at, (node, key) in enumerate(KEYS.items()):
        ledger.deposit(f"o{at}", 5_000)
        ledger.join(node, owner=f"o{at}", gpu=CARD, stake=1_000, public_key=key.public_key if signed else None)
    return ledger


def drawn(ledger: cv.SqlLedger, clock: ManualClock, task: cv.ImageTask = TASK, fee: int = 100) -> cv.Group:
    group = ledger.open_group(task, creator="app", fee=fee)
    clock.advance(1)
    return ledger.draw(group.id)


def drawn_later(ledger: cv.SqlLedger, clock: ManualClock) -> cv.Group:
    clock.advance(1)
    return drawn(ledger, clock)


def answer(ledger: cv.SqlLedger, group: cv.Group, *, signed: bool = True) -> Kept:
    """All members commit and reveal; what they hand in is public then, and kept."""
    assert group.draw is not None
    openings = {node: cv.Opening.of(HONEST) for node in group.members}
    signatures = {}
    for node, opening in openings.items():
        commitment = opening.commitment(group.draw_digest, node=node)
        signatures[node] = KEYS[node].sign(commitment, group.draw, node=node)
        ledger.commit(group.id, node, commitment, signature=signatures[node] if signed else None)
    for node, opening in openings.items():
        ledger.reveal(group.id, node, opening)
    return Kept(ledger.group(group.id), openings, signatures)


def check_that_nothing_fits(ledger: cv.SqlLedger, group: cv.Group, kept: Kept) -> None:
    """Neither what was signed, nor its opening with a commitment that was made anew."""
    assert set(group.members) == set(kept.group.members), "the same nodes answer, and yet"
    assert group.id == kept.group.id
    assert group.draw_digest != kept.draw.digest
    before = ledger.events()
    for node in group.members:
        old = kept.group.commitments[node]
        made_anew = kept.openings[node].commitment(group.draw_digest, node=node)
        for commitment in (old, made_anew):
            with pytest.raises(SignatureError, match=f"no signature of {node} on .* as it was drawn"):
                ledger.commit(group.id, node, commitment, signature=kept.signatures[node])
    assert ledger.events() == before
    again = answer(ledger, group)
    assert ledger.settle(group.id).status is cv.ledger.Status.SETTLED, "the nodes themselves can answer"
    forged = replace(
        again.group,
        status=cv.ledger.Status.SETTLED,
        rounds=kept.group.rounds,
        verdict=ledger.group(group.id).verdict,
        delivered_by=group.members[0],
    )
    with pytest.raises(cv.errors.BrokenEvidenceError, match="does not fit its commitment"):
        cv.verify_evidence(cv.ledger.Evidence("test", group.members[0], forged))


def test_after_a_restored_backup_another_value_of_the_beacon_is_another_draw(folder: Path) -> None:
    clock = ManualClock()
    ledger = filled(folder / "ledger.db", clock)
    waiting = ledger.open_group(TASK, creator="app", fee=100)
    ledger.close()
    shutil.copy(folder / "ledger.db", folder / "backup.db")
    clock.advance(1)
    kept = answer(ledger, ledger.draw(waiting.id))
    for number in range(100):
        file = folder / f"backup-{number}.db"
        shutil.copy(folder / "backup.db", file)
        restored = ledger_at(file, clock, secret=bytes([number]))
        assert restored.group(waiting.id) == waiting
        group = restored.draw(waiting.id)
        if group.members == kept.group.members:
            break
        restored.close()
    assert group.members == kept.group.members, "also where the other value draws the same members in the same order"
    check_that_nothing_fits(restored, group, kept)


@pytest.mark.parametrize(
    "again",
    [
        lambda ledger, clock: drawn(ledger, clock, OTHER_TASK),
        lambda ledger, clock: drawn(ledger, clock, TASK.replace(seed=1)),
        lambda ledger, clock: drawn(ledger, clock, fee=101),
        drawn_later,
    ],
    ids=["prompt", "seed", "fee", "round"],
)
def test_after_a_restored_backup_another_opening_is_another_draw(
    folder: Path, again: Callable[[cv.SqlLedger, ManualClock], cv.Group]
) -> None:
    clock = ManualClock()
    ledger = filled(folder / "ledger.db", clock)
    ledger.close()
    shutil.copy(folder / "ledger.db", folder / "backup.db")
    began = clock.now
    kept = answer(ledger, drawn(ledger, clock))
    clock.now = began
    restored = ledger_at(folder / "backup.db", clock)
    group = again(restored, clock)
    check_that_nothing_fits(restored, group, kept)


def test_after_a_restored_backup_the_same_draw_is_the_same(folder: Path) -> None:
    """Where nothing is different, what was handed in is what would be handed in: nobody is harmed."""
    clock = ManualClock()
    ledger = filled(folder / "ledger.db", clock)
    ledger.close()
    shutil.copy(folder / "ledger.db", folder / "backup.db")
    began = clock.now
    kept = answer(ledger, drawn(ledger, clock))
    clock.now = began
    restored = ledger_at(folder / "backup.db", clock)
    group = drawn(restored, clock)
    for node in group.members:
        restored.commit(group.id, node, kept.group.commitments[node], signature=kept.signatures[node])
    assert restored.events() == ledger.events()[: len(restored.events())]


def test_another_policy_is_another_draw(folder: Path) -> None:
    """A ledger of the same name, nodes, beacon and task, whose rules are others."""
    for number, change in enumerate(({"slash_per_fee": 10**6}, {"threshold": 64, "slash_threshold": 64})):
        clock, other_clock = ManualClock(), ManualClock()
        ledger = filled(folder / f"ledger-{number}.db", clock)
        kept = answer(ledger, drawn(ledger, clock))
        other = filled(folder / f"other-{number}.db", other_clock, replace(POLICY, **change))  # type: ignore[arg-type]
        group = drawn(other, other_clock)
        assert group.members == kept.group.members
        check_that_nothing_fits(other, group, kept)


def test_without_keys_an_old_opening_does_not_fit_an_old_commitment(folder: Path) -> None:
    """Whoever runs the ledger can commit for such nodes; it cannot show that they had answered."""
    clock = ManualClock()
    ledger = filled(folder / "ledger.db", clock, signed=False)
    waiting = ledger.open_group(TASK, creator="app", fee=100)
    ledger.close()
    shutil.copy(folder / "ledger.db", folder / "backup.db")
    clock.advance(1)
    kept = answer(ledger, ledger.draw(waiting.id), signed=False)
    restored = ledger_at(folder / "backup.db", clock, secret=b"second")
    group = restored.draw(waiting.id)
    for node in group.members:
        restored.commit(group.id, node, kept.group.commitments[node])
    for node in group.members:
        with pytest.raises(CommitmentMismatchError, match="made for another node, round, draw or seed"):
            restored.reveal(group.id, node, kept.openings[node])


INVENTED: dict[str, Callable[[cv.machines.Draw], cv.machines.Draw]] = {
    "co-member": lambda draw: replace(draw, members=(*draw.members[:2], "n3")),
    "another of the pool": lambda draw: replace(draw, members=(*draw.members[:2], _other(draw))),
    "order": lambda draw: replace(draw, members=draw.members[::-1]),
    "none": lambda draw: replace(draw, members=()),
    "beacon": lambda draw: replace(draw, beacon=bytes(32)),
    "no beacon": lambda draw: replace(draw, beacon=b""),
    "ledger": lambda draw: replace(draw, ledger="another"),
    "group": lambda draw: replace(draw, group="group-9"),
    "pool": lambda draw: replace(
        draw, pool=cv.machines.Pool([replace(c, weight=7**at) for at, c in enumerate(draw.pool, 1)])
    ),
    "unavailable": lambda draw: replace(draw, unavailable={draw.members[0]: "group-0"}, unavailable_weight=1_000),
}


def _other(draw: cv.machines.Draw) -> str:
    return next(candidate.id for candidate in draw.pool if candidate.id not in draw.members)


@pytest.mark.parametrize("what", INVENTED)
def test_a_key_signs_for_no_draw_that_a_beacon_did_not_make(what: str, folder: Path) -> None:
    clock = ManualClock()
    ledger = filled(folder / "ledger.db", clock)
    ledger.join("n4", owner="o1", gpu=CARD, stake=1_000)
    ledger.join("n5", owner="o2", gpu=CARD, stake=1_000)
    draw = drawn(ledger, clock).draw
    assert draw is not None
    node = draw.members[1]
    key = key_of(node)
    assert key.sign(bytes(32), draw, node=node)
    invented = INVENTED[what](draw)
    with pytest.raises(SignatureError, match="draws other members than it has: not signed"):
        key.sign(bytes(32), invented, node=node)
    assert not cv.verify_draw(invented)


def test_a_key_signs_for_its_node_alone(folder: Path) -> None:
    clock = ManualClock()
    ledger = filled(folder / "ledger.db", clock)
    ledger.join("n4", owner="o1", gpu=CARD, stake=1_000)
    draw = drawn(ledger, clock).draw
    assert draw is not None
    with pytest.raises(SignatureError, match=r"is not a member of group-1 .*not signed"):
        KEYS["n0"].sign(bytes(32), draw, node=_other(draw))
    wrong: list[Any] = [None, b"x", 7, ""]
    for node in wrong:
        with pytest.raises(SignatureError, match="is not a member of group-1"):
            KEYS["n0"].sign(bytes(32), draw, node=node)


def test_a_signature_for_a_task_or_policy_of_another_is_refused(folder: Path) -> None:
    """A node that asks `verify_draw` for what it was given signs nothing else; what it signs fits nothing else."""
    clock = ManualClock()
    ledger = filled(folder / "ledger.db", clock)
    group = drawn(ledger, clock)
    draw, node = group.draw, group.members[0]
    assert draw is not None
    other_policy = replace(POLICY, slash_per_fee=999)
    fewer = replace(draw, members=draw.members[:2])
    assert cv.verify_draw(fewer), "they are the first that are drawn"
    assert not cv.verify_draw(fewer, policy=POLICY), "and a group has three"
    told: tuple[tuple[dict[str, Any], dict[str, Any]], ...] = (
        ({"task": OTHER_TASK}, {"task": OTHER_TASK.digest}),
        ({"policy": other_policy}, {"policy": other_policy.digest}),
        ({"beacon": bytes(32)}, {}),
    )
    assert cv.verify_draw(draw, task=TASK, policy=POLICY, beacon=draw.beacon)
    for given, change in told:
        assert not cv.verify_draw(draw, **given)
        if not change:
            continue
        invented = replace(draw, **change)
        assert cv.verify_draw(invented, **given), "the members follow from the value alone"
        opening = cv.Opening.of(CHEAT)
        commitment = opening.commitment(invented.digest, node=node)
        signature = KEYS[node].sign(commitment, invented, node=node)
        for bound in (commitment, opening.commitment(draw.digest, node=node)):
            with pytest.raises(SignatureError, match=f"no signature of {node}"):
                ledger.commit(group.id, node, bound, signature=signature)
    others: tuple[dict[str, Any], ...] = (
        {"fee": 101},
        {"beacon_round": draw.beacon_round + 1},
        {"members": draw.members[::-1]},
    )
    for other in others:
        assert replace(draw, **other).digest != draw.digest
