"""Short stories that show what is wrong with a broken ledger: told to it and to `MemoryLedger`, they end otherwise.

A story has at most twelve actions, after a small network was set up. Nothing here is part of the standard tests.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import crynux_validate as cv
from crynux_validate.errors import CrynuxValidateError
from crynux_validate.testing import ManualClock
from crynux_validate.testing.conformance import by_hand
from crynux_validate.testing.conformance.network import (
    CARD,
    CHEAT,
    FALSE_DECLARER,
    FALSE_REPORT,
    HONEST,
    HONEST_TEXT,
    MACHINE,
    OTHER_DRIVER,
    POLICY,
    TEXT,
    Network,
    SilentBeacon,
)
from crynux_validate.testing.conformance.odd import APART, ODD, keyed_score
from crynux_validate.testing.conformance.prices import PRICED
from crynux_validate.testing.conformance.signed import key_of
from tests.elsewhere import broken, broken_rules
from tests.elsewhere.broken import Broken

ACTIONS: Final = (
    "deposit", "withdraw", "join", "leave", "top_up", "attest_commit", "attest_reveal", "open_group", "draw", "commit",
    "reveal", "settle",
)  # fmt: skip
MOST: Final = 12


class Told:
    """A ledger that is told a story: it counts the actions, and keeps how each ended and what could then be seen."""

    def __init__(self, ledger: Any) -> None:
        self.ledger = ledger
        self.actions = 0
        self.counts = False
        self.ends: list[object] = []

    def __getattr__(self, name: str) -> Any:
        inner = getattr(self.ledger, name)
        if name not in ACTIONS:
            return inner

        def act(*given: Any, **named: Any) -> Any:
            self.actions += self.counts
            try:
                done = inner(*given, **named)
            except CrynuxValidateError as error:
                self.ends.append((name, type(error)))
                raise
            finally:
                self.look()
            self.ends.append((name, repr(done)))
            return done

        return act

    def look(self) -> None:
        """Keep what can be seen now."""
        ledger = self.ledger
        events = list(ledger.events())
        groups = [str(e.payload["result"]["group"]) for e in events if e.kind == "open_group"]
        nodes = {node.id: node.to_dict() for node in ledger.nodes()}
        nodes |= {str(e.payload["action"]["node"]): None for e in events if e.kind == "join"}
        accounts = {
            str(e.payload["action"][what])
            for e in events
            for what in ("account", "owner")
            if what in e.payload["action"]
        }
        self.ends.append(
            (
                [event.digest for event in events],
                ledger.totals(),
                {node: ledger.node(node).to_dict() for node in sorted(nodes)},
                {account: ledger.account(account) for account in sorted(accounts | {"app", "treasury"})},
                [ledger.group(group).to_dict() for group in groups],
            )
        )


@dataclass
class Story:
    """What happens, and in which network.

    Parameters
    ----------
    tell
        Does it; a refusal ends the story, unless the story tries it.
    nodes, stake, policy
        Of the network.
    silent
        Whether the beacon gives no value.
    """

    tell: Callable[[Network], object]
    nodes: int = 5
    stake: int = 1_000
    policy: cv.Policy = field(default_factory=lambda: POLICY)
    silent: bool = False


def tries(action: Callable[[], object]) -> None:
    """Do what may be refused."""
    with suppress(CrynuxValidateError):
        action()


def answered(*answers: Any, fee: int = 100) -> Callable[[Network], object]:
    """One group from its opening to its settlement; None stays away."""
    return lambda network: _answered(network, *answers, fee=fee)


def _answered(network: Network, *answers: Any, fee: int = 100) -> cv.Group:
    # Nonces are told, so that two ledgers can be compared to the byte.
    group = network.drawn(fee)
    given = {}
    for at, (node, answer) in enumerate(zip(group.members, answers, strict=True)):
        if answer is not None:
            given[node] = cv.Opening(answer.to_bytes() if hasattr(answer, "to_bytes") else answer, bytes([at]) * 32)
    for node, opening in given.items():
        network.ledger.commit(group.id, node, bound(group, node, opening))
    network.clock.now = group.commit_deadline
    for node, opening in given.items():
        network.ledger.reveal(group.id, node, opening)
    return network.ledger.settle(group.id)


def bound(group: cv.Group, node: str, opening: cv.Opening, number: int = 1) -> bytes:
    """A commitment, by hand."""
    return by_hand.commitment(by_hand.draw_digest(group), node, opening.answer_bytes, opening.nonce, number)


def opening(at: int = 0, answer: Any = HONEST) -> cv.Opening:
    """An opening whose nonce is told."""
    return cv.Opening(answer.to_bytes(), bytes([at]) * 32)


def withheld(network: Network) -> None:
    group = network.drawn()
    for at, node in enumerate(group.members):
        network.ledger.commit(group.id, node, bound(group, node, opening(at)))
    network.ledger.reveal(group.id, group.members[0], opening(0))
    network.clock.now = group.reveal_deadline
    network.ledger.settle(group.id)


def commits(network: Network, *, later: int = 0, stranger: bool = False) -> None:
    """A commitment, and the same again, perhaps too late, or by a stranger."""
    group = network.drawn()
    node = group.members[0]
    if stranger:
        node = next(n.id for n in network.ledger.nodes() if n.id not in group.members)
    elif not later:
        network.ledger.commit(group.id, node, bytes(32))
    network.clock.advance(later)
    tries(lambda: network.ledger.commit(group.id, node, bytes([1]) * 32))


def reveals(network: Network, *, early: bool) -> None:
    group = network.drawn()
    for at, node in enumerate(group.members[: 1 if early else 3]):
        network.ledger.commit(group.id, node, bound(group, node, opening(at)))
    tries(lambda: network.ledger.reveal(group.id, group.members[0], opening(0 if early else 9)))


def owners_twice(network: Network) -> None:
    for at in range(3):
        network.ledger.join(f"m{at}", owner="o0", gpu=CARD, stake=1_000)
    for _ in range(2):
        group = network.drawn(fee=3)
        network.clock.now = group.commit_deadline
        network.ledger.settle(group.id)


def texts(kinds: tuple[Any, ...]) -> Callable[[Network], object]:
    """A text group, where machines differ; attesting is part of the setting."""

    def tell(network: Network) -> None:
        network.ledger.counts = False  # type: ignore[attr-defined]
        network.attest({f"n{at}": machine for at, machine in enumerate(kinds)})
        network.ledger.counts = True  # type: ignore[attr-defined]
        network.drawn(fee=3, task=TEXT)
        tries(lambda: network.opened(fee=3, task=TEXT))

    return tell


def two_draws(network: Network) -> None:
    """Two groups wait; the first is drawn and settled before the second is drawn."""
    first, second = network.opened(fee=3), network.opened(fee=3)
    network.clock.advance(1)
    network.ledger.draw(first.id)
    network.clock.now = network.ledger.group(first.id).commit_deadline
    network.ledger.settle(first.id)
    tries(lambda: network.ledger.draw(second.id))


def last_first(network: Network) -> None:
    network.opened(fee=3)
    last = network.opened(fee=3)
    network.clock.advance(1)
    tries(lambda: network.ledger.draw(last.id))


def busy_then_open(network: Network) -> None:
    for _ in range(2):
        network.drawn(fee=3)
    tries(lambda: network.opened(fee=3))
    tries(lambda: network.opened(fee=3, creator="o0"))


def leaves(network: Network, *then: Callable[[Network], object]) -> None:
    """A node asks to leave while a group waits."""
    network.opened(fee=3)
    network.ledger.leave("n0")
    for act in then:
        tries(lambda act=act: act(network))  # type: ignore[misc]


def member_leaves(network: Network) -> None:
    group = network.drawn()
    for _ in range(2):
        tries(lambda: network.ledger.leave(group.members[0]))


def tops_up(network: Network) -> None:
    group = network.opened(fee=3)
    network.ledger.top_up("n0", 1_000)
    network.clock.advance(1)
    network.ledger.draw(group.id)


def many_wait(network: Network) -> None:
    for _ in range(3):
        tries(lambda: network.opened(fee=3))


def late(network: Network) -> None:
    group = network.opened(fee=3)
    network.clock.advance(1_000)
    network.ledger.draw(group.id)


def closed(network: Network) -> None:
    group = network.opened(fee=99)
    network.clock.now = group.draw_deadline
    network.ledger.draw(group.id)
    tries(lambda: network.ledger.open_group(group.task, creator="app", fee=3))


def again(network: Network) -> None:
    """The same task twice, then a third time when nobody answered."""
    group = network.opened(fee=3)
    tries(lambda: network.ledger.open_group(group.task, creator="app", fee=3))
    network.clock.advance(1)
    drawn = network.ledger.draw(group.id)
    network.clock.now = drawn.commit_deadline
    network.ledger.settle(group.id)
    tries(lambda: network.ledger.open_group(group.task, creator="app", fee=3))


def settles_twice(network: Network) -> None:
    group = _answered(network, HONEST, HONEST, HONEST)
    network.ledger.settle(group.id)


def fails_late(network: Network) -> None:
    tries(lambda: network.ledger.open_group(network.fresh(), creator="app", fee=30, min_memory_gib=500))
    tries(lambda: network.ledger.open_group(network.fresh(), creator="app", fee=900, min_memory_gib=1))
    tries(lambda: network.opened(fee=9_000))


def clock_back(network: Network) -> None:
    network.ledger.deposit("app", 1)
    network.clock.now -= 30
    network.ledger.deposit("app", 1)


def attests_late(network: Network) -> None:
    network.clock.now = network.ledger.epoch().starts + 1_000
    network.clock.now = network.ledger.epoch().commit_deadline
    tries(lambda: network.attest_commit("n0"))


def attests(network: Network) -> None:
    network.clock.now = network.ledger.epoch().starts + 1_000
    network.attest_commit("n0")
    network.clock.now = network.ledger.epoch().commit_deadline
    network.attest_reveal("n0")


def with_key(network: Network, *, attesting: bool) -> None:
    network.ledger.deposit("key", 2_000)
    network.ledger.join("n9", owner="key", gpu=CARD, stake=1_000, public_key=key_of("n9").public_key)
    if attesting:
        network.clock.now = network.ledger.epoch().starts + 1_000
        tries(lambda: network.attest_commit("n9"))
        return
    group = network.drawn(fee=3)
    tries(lambda: network.ledger.commit(group.id, "n9", bytes(32)))


def two_rounds(network: Network, *, early: bool = False, signed: bool = False) -> None:
    network.ledger.counts = False  # type: ignore[attr-defined]
    if signed:
        for at in range(3):
            node = f"n{at}"
            network.ledger.leave(node)
            key = key_of(node).public_key
            network.ledger.join(node, owner=f"o{at}", gpu=CARD, stake=1_000, public_key=key)
        _attest_signed(network)
    else:
        network.attest()
    network.ledger.counts = True  # type: ignore[attr-defined]
    group = network.drawn(task=TEXT)
    node = group.members[0]
    made = opening(0, HONEST_TEXT)
    _sign_and_commit(network, group, node, made, None, signed)
    if early:
        tries(lambda: network.ledger.commit(group.id, node, bytes(32), round=2))
        network.clock.now = group.rounds[0].commit_deadline
        network.ledger.reveal(group.id, node, made)
        tries(lambda: network.ledger.settle(group.id))
        return
    network.clock.now = group.rounds[0].commit_deadline
    network.ledger.reveal(group.id, node, made)
    seed = network.ledger.group(group.id).second_seed(network.clock.now)
    assert seed is not None
    _sign_and_commit(network, group, node, cv.Opening(keyed_score(seed), bytes(32)), seed, signed)


def _sign_and_commit(
    network: Network, group: cv.Group, node: str, made: cv.Opening, seed: bytes | None, signed: bool
) -> None:
    number, bound_to = (1, by_hand.draw_digest(group)) if seed is None else (2, seed)
    commitment = by_hand.commitment(bound_to, node, made.answer_bytes, made.nonce, number)
    assert group.draw is not None
    signature = key_of(node).sign(commitment, group.draw, node=node, seed=seed) if signed else None
    network.ledger.commit(group.id, node, commitment, round=number, signature=signature)


def _attest_signed(network: Network) -> None:
    ledger = network.ledger
    network.clock.now = ledger.epoch().starts + ledger.policy.epoch_seconds
    epoch = ledger.epoch()
    for at in range(3):
        commitment = network.attestation_of(f"n{at}")
        signature = key_of(f"n{at}").sign_attestation(commitment, ledger=ledger.id, epoch=epoch.number, node=f"n{at}")
        ledger.attest_commit(f"n{at}", commitment, epoch=epoch.number, signature=signature)
    network.clock.now = epoch.commit_deadline
    for at in range(3):
        network.attest_reveal(f"n{at}")
    network.clock.now = epoch.reveal_deadline


def suspended(network: Network) -> None:
    group = network.drawn(fee=31)
    for at, node in enumerate(group.members[:2]):
        network.ledger.commit(group.id, node, bound(group, node, opening(at)))
    network.clock.now = group.commit_deadline
    for at, node in enumerate(group.members[:2]):
        network.ledger.reveal(group.id, node, opening(at))
    network.ledger.settle(group.id)
    tries(lambda: network.opened(fee=31))


def rich(network: Network) -> None:
    for at, stake in enumerate((10**24 + 7, 10**24 + 9, 10**24 + 11)):
        network.ledger.deposit(f"r{at}", stake)
        network.ledger.join(f"r{at}", owner=f"r{at}", gpu=CARD, stake=stake)
    network.ledger.deposit("app", 10**23 + 3)
    network.drawn(fee=10**22 + 5)


def money(network: Network) -> None:
    network.ledger.counts = False  # type: ignore[attr-defined]
    for at in range(3):
        network.ledger.deposit("r", 10**24 + 7)
        network.ledger.deposit(f"o{at}", 10**24 + 7)
        network.ledger.top_up(f"n{at}", 10**24 + 5)
    network.ledger.deposit("app", 10**24 + 3)
    network.ledger.counts = True  # type: ignore[attr-defined]
    _answered(network, HONEST, HONEST, HONEST, fee=10**22 + 5)


def cards(network: Network) -> None:
    network.ledger.join("card", owner="o0", gpu=cv.GpuModel("NVIDIA H100", 80, "docker", 8), stake=400)


def words(network: Network) -> None:
    network.ledger.open_group(network.fresh().replace(prompt="ein Kätzchen 猫"), creator="app", fee=100)


def evidence(network: Network) -> None:
    group = _answered(network, HONEST, HONEST, CHEAT)
    told: Told = network.ledger  # type: ignore[assignment]
    told.ends.append(told.ledger.evidence(group.id, group.members[0]).to_json())


def half_a_batch(network: Network) -> None:
    told: Told = network.ledger  # type: ignore[assignment]
    with suppress(RuntimeError), told.ledger.batch():
        told.deposit("x", 1)
        raise RuntimeError
    told.look()


def threads(network: Network) -> None:
    """Two threads act at once; each gives the other its turn between reading and writing."""
    told: Told = network.ledger  # type: ignore[assignment]
    both = threading.Barrier(2, timeout=0.5)

    def clock() -> int:
        with suppress(threading.BrokenBarrierError):
            both.wait()
        return network.clock.now

    told.ledger._clock = clock
    append = told.ledger._store.write

    def slow(change: Any, event: Any) -> None:
        with suppress(threading.BrokenBarrierError):
            both.wait()
        append(change, event)

    told.ledger._store.write = slow
    acting = [threading.Thread(target=lambda: told.ledger.deposit("x", 1)) for _ in range(2)]
    told.actions += 2
    for thread in acting:
        thread.start()
    for thread in acting:
        thread.join()
    told.ends.append([event.seq for event in told.ledger.events()][-2:])
    told.ends.append(told.ledger.account("x"))


SIGNED: Final = replace(POLICY, second_algorithm="digest/1")
STORIES: Final[dict[type[Broken], Story]] = {
    broken.CreatesMoney: Story(answered(HONEST, HONEST, CHEAT)),
    broken.PaysTheInvalid: Story(answered(HONEST, HONEST, CHEAT)),
    broken.GivesTheRestToTheValid: Story(answered(HONEST, HONEST, CHEAT)),
    broken.SparesTheWithheld: Story(withheld),
    broken.SlashesTheAbsent: Story(answered(HONEST, HONEST, None)),
    broken.NeverSuspends: Story(suspended, policy=replace(ODD, suspend_after=1), stake=1_999),
    broken.ReplacesCommitments: Story(commits),
    broken.CommitsLate: Story(lambda network: commits(network, later=200)),
    broken.LetsStrangersCommit: Story(lambda network: commits(network, stranger=True)),
    broken.TakesAnyOpening: Story(lambda network: reveals(network, early=False)),
    broken.RevealsEarly: Story(lambda network: reveals(network, early=True)),
    broken.DrawsTwoOfOneOwner: Story(owners_twice, nodes=3),
    broken.DrawsTheCreatorsNodes: Story(lambda network: network.opened(creator="o0")),
    broken.PairsUnequalMachines: Story(texts((MACHINE,) * 3 + (OTHER_DRIVER,) * 2)),
    broken.DrawsByItsOwnChoice: Story(late),
    broken.UsesGroupIdsAgain: Story(lambda network: [_answered(network, HONEST, HONEST, HONEST), network.opened()]),
    broken.KeepsTheFeeOfClosedGroups: Story(closed, silent=True),
    broken.IgnoresTheFee: Story(fails_late),
    broken.HalfAppliesWhatItRefuses: Story(fails_late),
    broken.PaysAgainWhenSettledAgain: Story(settles_twice),
    broken.RunsBackwards: Story(clock_back),
    broken.DoesNotChainItsLog: Story(clock_back),
    broken.LogsOnlyMoney: Story(attests),
    broken.TakesLateAttestations: Story(attests_late),
    broken.TakesUnsignedCommitments: Story(lambda network: with_key(network, attesting=False), nodes=2),
    broken.BeginsTheSecondRoundEarly: Story(lambda n: two_rounds(n, early=True), nodes=3, policy=SIGNED),
    broken.EvidenceWithoutAnOpening: Story(evidence),
    broken.KeepsHalfABatch: Story(half_a_batch),
    broken.IsNotThreadSafe: Story(threads),
    broken_rules.TakesWhoIsInAGroupNow: Story(two_draws, nodes=7),
    broken_rules.DrawsOutOfOrder: Story(last_first, nodes=7),
    broken_rules.AsksTheShareAtTheOpeningOnly: Story(last_first, nodes=6, policy=replace(POLICY, min_pool_ppm=500_001)),
    broken_rules.AsksForNoShare: Story(busy_then_open, nodes=10, policy=replace(POLICY, min_pool_ppm=500_000)),
    broken_rules.CountsOnlyTheFreeInTheBase: Story(busy_then_open, nodes=10),
    broken_rules.LetsLeaversIntoNewPools: Story(lambda n: leaves(n, lambda n: n.opened(fee=3)), nodes=7),
    broken_rules.DrawsTheSuspended: Story(suspended, policy=replace(ODD, suspend_after=1), stake=1_999),
    broken_rules.GivesStakesBackEarly: Story(leaves),
    broken_rules.LetsNobodyLeaveAGroup: Story(member_leaves),
    broken_rules.WritesAnEventForEachLeave: Story(member_leaves),
    broken_rules.LetsLeaversTopUp: Story(lambda n: leaves(n, lambda n: n.ledger.top_up("n0", 5))),
    broken_rules.ChangesOpenPools: Story(tops_up),
    broken_rules.LetsAnyNumberOfGroupsWait: Story(many_wait, nodes=6),
    broken_rules.DrawsByWhatIsKnown: Story(late),
    broken_rules.ClosesLateGroups: Story(late),
    broken_rules.SendsTextToALighterClass: Story(texts((MACHINE,) * 4 + (OTHER_DRIVER,) * 3), nodes=7),
    broken_rules.CapsWeights: Story(tops_up, stake=2_000),
    broken_rules.IgnoresTheUnitOfWeights: Story(tops_up, policy=replace(POLICY, weight_unit=13)),
    broken_rules.SlashesWithoutBound: Story(answered(HONEST, HONEST, CHEAT, fee=3), policy=PRICED),
    broken_rules.BoundsByTheWholeFee: Story(answered(HONEST, HONEST, CHEAT, fee=3), policy=PRICED),
    broken_rules.RefundsAllWithoutAQuorum: Story(answered(HONEST, CHEAT, FALSE_REPORT), policy=PRICED),
    broken_rules.BurnsRoundedDown: Story(answered(HONEST, CHEAT, FALSE_REPORT, fee=3), policy=PRICED),
    broken_rules.PaysWhatIsBurnt: Story(
        answered(HONEST, CHEAT, FALSE_REPORT), policy=replace(PRICED, slash_account="treasury")
    ),
    broken_rules.TakesSmallFees: Story(lambda n: tries(lambda: n.opened(fee=3)), policy=replace(POLICY, min_fee=30)),
    broken_rules.CoversFeesByOnePart: Story(
        lambda n: tries(lambda: n.opened(fee=153)), policy=replace(POLICY, withheld_ppm=500_000)
    ),
    broken_rules.BurnsWhatHasAnAccount: Story(
        answered(HONEST, HONEST, CHEAT), policy=replace(PRICED, slash_account="treasury")
    ),
    broken_rules.CountsEveryAbsence: Story(answered(HONEST, None, None)),
    broken_rules.JudgesByItsOwnThreshold: Story(answered(HONEST, HONEST, APART), policy=ODD),
    broken_rules.GivesTasksTwice: Story(again),
    broken_rules.KeepsTasksForEver: Story(closed, silent=True),
    broken_rules.BindsNoMembers: Story(answered(HONEST, HONEST, HONEST)),
    broken_rules.TakesUnsignedAttestations: Story(lambda network: with_key(network, attesting=True)),
    broken_rules.LosesSignaturesOfTheSecondRound: Story(lambda n: two_rounds(n, signed=True), nodes=3, policy=SIGNED),
    broken_rules.CutsAnswers: Story(lambda n: _answered(n, HONEST, HONEST, b"\xff" * 300)),
    broken_rules.CountsMoneyInFloats: Story(money),
    broken_rules.WrapsMoney: Story(money),
    broken_rules.ForgetsWhatACardIs: Story(cards),
    broken_rules.EscapesItsLog: Story(words),
    broken_rules.SettlesAfterTheFirstRound: Story(lambda n: two_rounds(n, early=True), nodes=3, policy=SIGNED),
}
"""A story for each broken ledger that is not about files."""


def told(kind: type[cv.MemoryLedger], story: Story) -> Told:
    """Tell a story to a ledger of this kind."""
    clock = ManualClock()
    beacon: cv.ledger.Beacon = SilentBeacon() if story.silent else cv.ledger.LocalBeacon(b"secret")
    ledger = Told(kind(story.policy, ledger_id="test", clock=clock, beacon=beacon))
    network = Network(ledger, clock, nodes=story.nodes, stake=story.stake)
    ledger.counts = True
    tries(lambda: story.tell(network))
    return ledger


def on_files(folder: Path) -> Iterator[tuple[str, bool]]:
    """The two broken ledgers that are about files: whether each keeps what it has acknowledged."""
    clock = ManualClock()
    forgets = broken.forgetful(POLICY, "test", clock, cv.ledger.LocalBeacon(b"secret"), folder / "forgets")
    forgets.deposit("x", 1)
    forgets.deposit("x", 1)
    again = broken.forgetful(POLICY, "test", clock, cv.ledger.LocalBeacon(b"secret"), folder / "forgets")
    yield "ForgetsTheLastAction", again.account("x") == 2
    (folder / "half").mkdir()
    half = broken.half_lines(POLICY, "test", clock, cv.ledger.LocalBeacon(b"secret"), folder / "half")
    half.deposit("x", 1)
    with (folder / "half" / "log").open("ab") as file:
        file.write(b'{"half": "a li')  # what a full disk left of a line
    half.deposit("x", 1)
    again = broken.half_lines(POLICY, "test", clock, cv.ledger.LocalBeacon(b"secret"), folder / "half")
    yield "AppendsAfterHalfALine", again.account("x") == 2


__all__ = ["FALSE_DECLARER", "MOST", "STORIES", "Story", "Told", "on_files", "told"]
