"""Policies with every field away from its default, money, names and cards of any form (protocol P1, L2, L4, L5, L8)."""

import json
from dataclasses import replace
from typing import Any, Final

import pytest

from crynux_validate.answers import ErrorReport, ImageScore
from crynux_validate.commitment import Opening
from crynux_validate.errors import NotEnoughNodes, SignatureError
from crynux_validate.judging import Finding, Outcome
from crynux_validate.ledger.interface import Group, Policy
from crynux_validate.machines.gpu import GpuModel
from crynux_validate.signatures import SigningKey
from crynux_validate.testing.conformance import by_hand
from crynux_validate.testing.conformance.capabilities import needs
from crynux_validate.testing.conformance.groups import check_draw
from crynux_validate.testing.conformance.harness import Harness, RestartableNetwork
from crynux_validate.testing.conformance.network import (
    CARD,
    CHEAT,
    FALSE_REPORT,
    HONEST,
    HONEST_TEXT,
    POLICY,
    TEXT,
    Network,
)
from crynux_validate.testing.conformance.settlement import findings
from crynux_validate.testing.conformance.signed import key_of

ODD: Final = replace(
    POLICY,
    threshold=11,
    slash_threshold=19,
    min_stake=777,
    min_fee=31,
    stake_per_fee=7,
    slash_per_fee=9,
    weight_unit=13,
    min_pool_ppm=123_457,
    slash_ppm=654_321,
    withheld_ppm=321_987,
    no_quorum_ppm=234_567,
    fault_fee_ppm=345_678,
    slash_account="app",
    suspend_after=2,
    min_class_owners=4,
    min_class_stake=3_210,
)
"""No field that a test does not set itself has its default."""

FAR: Final = ImageScore(bytes.fromhex("f0f0f0f00f0f0f00"), bytes(32))
"""4 bits from `HONEST`."""
APART: Final = ImageScore(bytes.fromhex("f0f0f0f00f0ff0ff"), bytes(32))
"""12 bits from `HONEST`."""
OUT: Final = ImageScore(bytes.fromhex("f0f0f00ff0f00f0f"), bytes(32))
"""24 bits from `HONEST`."""


def keyed_score(seed: bytes) -> bytes:
    """Return the second answer of whoever has three tokens as a result."""
    return by_hand.second_answer(seed, ((5, 7, 11),))


class OddRules(Harness):
    """Standard tests with values that are not those of the others."""

    def rich(self, policy: Policy, stakes: list[int]) -> RestartableNetwork:
        """Return nodes with these stakes, each of an owner with as much again, and a creator with any money."""
        network = self.network(nodes=0, policy=policy)
        network.ledger.deposit("app", 10**30 - network.ledger.account("app"))
        for at, stake in enumerate(stakes):
            network.ledger.deposit(f"o{at}", 2 * stake)
            network.ledger.join(f"n{at}", owner=f"o{at}", gpu=CARD, stake=stake)
        return network

    def test_j2_the_policys_own_thresholds_hold(self) -> None:
        for answer, found in ((FAR, Finding.VALID), (APART, Finding.BORDERLINE), (OUT, Finding.INVALID)):
            network = self.network(policy=ODD, stake=1_000)
            assert findings(network.answered(HONEST, HONEST, answer)) == [Finding.VALID, Finding.VALID, found]
        wide = self.network(policy=replace(POLICY, threshold=25, slash_threshold=40))
        assert findings(wide.answered(HONEST, HONEST, OUT)) == [Finding.VALID] * 3

    def test_p4_weights_count_in_the_policys_unit_and_have_a_largest(self) -> None:
        stakes = [777, 13 * 78, 13 * 5 + 777 * 13, 10**20, 13 * (2**32 - 1), 13 * 2**32 + 12]
        group = self.rich(ODD, stakes).opened(fee=31)
        weights = [59, 78, 782, 2**32 - 1, 2**32 - 1, 2**32 - 1]
        assert [candidate.weight for candidate in group.pool] == weights
        assert group.base == sum(weights)

    def test_l2_money_of_any_size_is_counted_to_the_unit(self) -> None:
        """10^24 units, with odd remainders: beyond 64 bits, and beyond what a float holds."""
        stake, fee = 10**24 + 7, 10**22 + 5
        policy = replace(POLICY, min_stake=10**23 + 1, min_fee=3, weight_unit=10**18, slash_ppm=333_333)
        network = self.rich(policy, [stake] * 5)
        group = network.answered(HONEST, HONEST, CHEAT, fee=fee)
        share = fee // 3
        slashed = stake * 333_333 // 1_000_000
        for node in group.members[:2]:
            assert network.ledger.account(f"o{node[1:]}") == stake + share
        assert network.ledger.node(group.members[2]).stake == stake - slashed
        assert network.ledger.account("app") == 10**30 - 2 * share
        assert network.ledger.totals().burnt == slashed
        network.ledger.withdraw("app", 1)
        assert network.ledger.account("app") == 10**30 - 2 * share - 1
        network.check_money()

    def test_l4_odd_parts_and_bounds_are_rounded_as_the_rules_say(self) -> None:
        """floor(1,999 * 654,321 / 10^6) is 1,307; 20 * floor(275 / 3) is more, and 20 * floor(100 / 3) is 660."""
        for fee, slashed in ((275, 1_307), (100, 660)):
            network = self.network(policy=replace(ODD, slash_per_fee=20), stake=1_999)
            group = network.answered(HONEST, HONEST, CHEAT, fee=fee)
            assert network.ledger.node(group.members[2]).stake == 1_999 - slashed
            assert network.ledger.account("app") == 10_000 - 2 * (fee // 3) + slashed, (
                "the slash account is the creator"
            )
            network.check_money()

    def test_j5_odd_parts_of_a_fee_are_burnt(self) -> None:
        network = self.network(policy=ODD, stake=1_999)
        network.answered(HONEST, CHEAT, FALSE_REPORT, fee=101)
        assert network.ledger.totals().burnt == 24, "101 * 0.234567, rounded up"
        assert network.ledger.account("app") == 10_000 - 24
        faulty = network.answered(FALSE_REPORT, FALSE_REPORT, ErrorReport("failed", "x"), fee=101)
        assert faulty.verdict is not None
        assert faulty.verdict.outcome is Outcome.TASK_FAULT
        assert network.ledger.account("app") == 10_000 - 24 - 24 - 2 * 11
        network.check_money()

    def test_c3_suspension_comes_as_soon_as_the_policy_says(self) -> None:
        network = self.network(nodes=3, policy=replace(ODD, min_pool_ppm=0), stake=1_999)
        first = network.answered(HONEST, HONEST, None, fee=31)
        absent = first.members[2]
        for times in (1, 2):
            assert network.ledger.node(absent).absences == times
            assert network.ledger.node(absent).suspended == (times == 2)
            if times == 1:
                group = network.drawn(fee=31)
                present = [node for node in group.members if node != absent]
                for node in present:
                    network.commit(group.id, node)
                network.until(group.commit_deadline)
                for node in present:
                    network.reveal(group.id, node)
                network.ledger.settle(group.id)

    def test_c3_absence_counts_only_where_others_answered(self) -> None:
        """Or whoever gives tasks that nobody can finish suspends the honest."""
        network = self.network(nodes=3, policy=replace(ODD, suspend_after=1, min_pool_ppm=0), stake=1_999)
        group = network.answered(None, HONEST, None, fee=31)
        assert group.verdict is not None
        assert group.verdict.outcome is Outcome.NO_QUORUM
        assert not any(node.absences or node.suspended for node in network.ledger.nodes())
        group = network.answered(None, HONEST, HONEST, fee=31)
        assert network.ledger.node(group.members[0]).suspended

    @pytest.mark.parametrize("size", [3, 5, 7, 9])
    def test_p4_groups_of_every_size_go_their_way(self, size: int) -> None:
        network = self.network(nodes=size + 1, policy=replace(ODD, group_size=size, min_fee=5 * size), stake=1_500)
        quorum = (size + 1) // 2
        answers = [HONEST] * quorum + [CHEAT] * (size - quorum)
        group = network.answered(*answers, fee=10 * size + 1)
        check_draw(group)
        assert findings(group) == [Finding.VALID] * quorum + [Finding.INVALID] * (size - quorum)
        assert [network.ledger.node(node).stake for node in group.members[quorum:]] == [1_410] * (size - quorum)
        network.check_money()
        undecided = [HONEST] * (quorum - 1) + [CHEAT] * (quorum - 1) + [FALSE_REPORT]
        fresh = self.network(nodes=size + 1, policy=replace(ODD, group_size=size, min_fee=5 * size), stake=1_500)
        nobody = fresh.answered(*undecided, fee=10 * size)
        assert nobody.verdict is not None
        assert nobody.verdict.outcome is Outcome.NO_QUORUM
        fresh.check_money()

    @needs("text")
    def test_p3_a_class_is_admitted_as_the_policy_says(self) -> None:
        """Four owners, and 3,210 at stake together; a listed declaration needs neither."""
        for nodes, stake, is_admitted in ((4, 803, True), (3, 2_000, False), (4, 802, False)):
            network = self.network(nodes=nodes, policy=ODD, stake=stake)
            network.attest()
            if is_admitted:
                assert network.opened(fee=31, task=TEXT).gpu_class == network.class_of("n0")
                continue
            network.refused(NotEnoughNodes, lambda n=network: n.opened(fee=31, task=TEXT))  # type: ignore[misc]
            found = network.class_of("n0")
            assert found is not None
            listing = self.network(
                nodes=nodes, policy=replace(ODD, admitted_declarations=(found.declaration,)), stake=stake
            )
            listing.attest()
            assert listing.opened(fee=31, task=TEXT).gpu_class == listing.class_of("n0")

    def test_p1_cards_are_kept_with_all_that_names_them(self) -> None:
        cards = [
            GpuModel("NVIDIA GeForce RTX 4090 D", 24),
            GpuModel("NVIDIA H100 80GB HBM3", 80, platform="docker"),
            GpuModel("AMD Instinct MI300X [gfx942]", 192, count=8),
            GpuModel("NVIDIA A100-SXM4-40GB", 40, platform="docker", count=4, tensor_parallel=True),
            GpuModel("Tesla P100 (PCIe) / 16.0 @ #1 & 'x' + y, _z", 16),
        ]
        network = self.network(nodes=1)
        for at, card in enumerate(cards):
            network.ledger.deposit("o0", 400)
            network.ledger.join(f"card{at}", owner="o0", gpu=card, stake=400)
            assert network.ledger.node(f"card{at}").gpu == card
        if "restart" not in self.lacks:
            network.restart()
        assert [network.ledger.node(f"card{at}").gpu for at in range(len(cards))] == cards

    def test_t3_prompts_and_names_of_every_form_are_kept(self) -> None:
        """Ids with the signs that mark-up, shells and query languages read as something else; prompts in any script."""
        names = ["<b>&\"'\\`$(x);--", "%s{0}%%~|^", "0x00#?!*[]/../.", "'OR'1'='1", "a" * 128]
        network = self.network(nodes=0)
        ledger = network.ledger
        ledger.deposit("app", 10_000)
        for name in names:
            ledger.deposit(name, 5_000)
            ledger.join(name, owner=name, gpu=CARD, stake=1_000)
        prompt = 'ein "roter" Kater \\ 赤い猫 \U0001f408 \x7f\x01\u2028 </script> \u00e9 e\u0301'
        task = network.fresh().replace(prompt=prompt)
        group = ledger.open_group(task, creator=names[0], fee=100)
        assert group.task == task
        drawn = network.draw(group)
        assert set(drawn.members) < set(names[1:])
        check_draw(drawn)
        for node in drawn.members:
            network.commit(drawn.id, node)
        for node in drawn.members:
            network.reveal(drawn.id, node)
        settled = ledger.settle(drawn.id)
        assert settled.task.prompt == prompt
        assert ledger.group(drawn.id) == settled
        assert {name: ledger.account(name) for name in drawn.members} == dict.fromkeys(drawn.members, 4_033)
        if "restart" not in self.lacks:
            network.restart()
            assert network.ledger.group(drawn.id) == settled
        network.check_money()

    @needs("log")
    def test_l5_every_event_is_canonical_json(self) -> None:
        """Its bytes are those of RFC 8785, written by hand: sorted keys, no spaces, no escapes that need not be."""
        network = self.network(nodes=6, policy=ODD, stake=1_999)
        task = network.fresh().replace(prompt='<&>"\\/ é 猫 \U0001f408 \x1f\x7f')
        group = network.draw(network.ledger.open_group(task, creator="app", fee=101))
        for node, answer in zip(group.members, (HONEST, HONEST, CHEAT), strict=True):
            network.commit(group.id, node, answer)
        for node in group.members:
            network.reveal(group.id, node)
        network.ledger.settle(group.id)
        network.ledger.leave(group.members[0])
        for event in network.ledger.events():
            value = by_hand.shortest(event.to_dict())
            text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
            assert event.canonical_bytes == text.encode()
            assert event.digest == by_hand.event_digest(event)

    def test_c4_an_answer_is_kept_to_its_last_byte(self) -> None:
        """Up to 4,096 bytes of an opening, whatever is in it."""
        network = self.network()
        group = network.drawn()
        sizes = (255, 256, 4_060)
        given = {
            node: Opening(
                ErrorReport("failed", "x" * 200).to_bytes() + bytes(size - 216) if size == 4_060 else bytes(size)
            )
            for node, size in zip(group.members, sizes, strict=True)
        }
        for node, opening in given.items():
            bound = by_hand.commitment(by_hand.draw_digest(group), node, opening.answer_bytes, opening.nonce)
            network.ledger.commit(group.id, node, bound)
        for node, opening in given.items():
            network.ledger.reveal(group.id, node, opening)
        settled = network.ledger.settle(group.id)
        assert {node: opening.answer_bytes for node, opening in settled.openings.items()} == {
            node: opening.answer_bytes for node, opening in given.items()
        }
        assert network.ledger.group(group.id).openings == given

    @needs("signatures", "second_round", "text")
    def test_l8_keys_and_two_rounds_go_together(self) -> None:
        """Each round's commitments are signed for that round; deadlines and signatures of both are kept."""
        policy = replace(POLICY, second_algorithm="digest/1", commit_seconds=90, reveal_seconds=40)
        network = self.network(nodes=0, policy=policy)
        for at in range(3):
            network.ledger.deposit(f"o{at}", 5_000)
            key = key_of(f"n{at}").public_key
            network.ledger.join(f"n{at}", owner=f"o{at}", gpu=CARD, stake=1_000, public_key=key)
        network.ledger.deposit("app", 1_000)
        self._attest_signed(network)
        group = network.drawn(task=TEXT)
        self._answer_signed(network, group, None, {node: HONEST_TEXT.to_bytes() for node in group.members})
        opened = network.ledger.group(group.id)
        nonces = {node: opening.nonce for node, opening in opened.openings.items()}
        seed = by_hand.second_seed(by_hand.draw_digest(group), nonces)
        self._answer_signed(network, opened, seed, {node: keyed_score(seed) for node in group.members})
        settled = network.ledger.settle(group.id)
        assert findings(settled) == [Finding.VALID] * 3
        times = [(one.commit_deadline, one.reveal_deadline) for one in settled.rounds]
        drawn_at = times[0][0] - 90
        assert times == [(drawn_at + 90, drawn_at + 130), (drawn_at + 220, drawn_at + 260)]
        if "restart" not in self.lacks:
            network.restart()
        kept = network.ledger.group(group.id)
        for number, one in enumerate(kept.rounds, 1):
            assert set(one.signatures) == set(group.members)
            for node, made in one.signatures.items():
                bound_to = by_hand.draw_digest(group) if number == 1 else seed
                by_hand.check_signature(made.value, made.public_key, bound_to, node, one.commitments[node], number)

    def _answer_signed(self, network: Network, group: Group, seed: bytes | None, answers: dict[str, bytes]) -> None:
        """Commit and reveal, in the second round where a seed is given; a signature for another is refused."""
        assert group.draw is not None
        openings, number = {}, 1 if seed is None else 2
        bound_to = by_hand.draw_digest(group) if seed is None else seed
        for node, answer in answers.items():
            opening = openings[node] = Opening(answer)
            bound = by_hand.commitment(bound_to, node, opening.answer_bytes, opening.nonce, number=number)
            key, draw = key_of(node), group.draw
            for other in (bytes(32),) if seed is None else (bytes(32), None):
                wrong = key.sign(bound, draw, node=node, seed=other)
                network.refused(
                    SignatureError,
                    lambda n=node, b=bound, s=wrong: network.ledger.commit(  # type: ignore[misc]
                        group.id, n, b, round=number, signature=s
                    ),
                )
            signature = key.sign(bound, draw, node=node, seed=seed)
            network.ledger.commit(group.id, node, bound, round=number, signature=signature)
        for node, opening in openings.items():
            network.ledger.reveal(group.id, node, opening, round=number)

    def _attest_signed(self, network: Network) -> None:
        """Attest with keys: whoever has one signs, and nobody else does."""
        ledger = network.ledger
        network.clock.now = ledger.epoch().starts + ledger.policy.epoch_seconds
        epoch = ledger.epoch()
        for at in range(3):
            node = f"n{at}"
            network.refused(SignatureError, lambda n=node: network.attest_commit(n))  # type: ignore[misc]
            bound = network.attestation_of(node)
            signing: Any = {"ledger": ledger.id, "epoch": epoch.number, "node": node}
            wrong: list[bytes] = [
                SigningKey(bytes([9]) * 32).sign_attestation(bound, **signing),
                key_of(node).sign_attestation(bound, **(signing | {"epoch": epoch.number + 1})),
                key_of(node).sign_attestation(bound, **(signing | {"ledger": "other"})),
                key_of(node).sign_attestation(bound, **(signing | {"node": "n9"})),
            ]
            for signature in wrong:
                network.refused(
                    SignatureError,
                    lambda n=node, b=bound, s=signature: ledger.attest_commit(  # type: ignore[misc]
                        n, b, epoch=epoch.number, signature=s
                    ),
                )
            right = key_of(node).sign_attestation(bound, **signing)
            ledger.attest_commit(node, bound, epoch=epoch.number, signature=right)
        network.clock.now = epoch.commit_deadline
        for at in range(3):
            network.attest_reveal(f"n{at}")
        network.clock.now = epoch.reveal_deadline
        assert all(ledger.node(f"n{at}").attestations for at in range(3))
