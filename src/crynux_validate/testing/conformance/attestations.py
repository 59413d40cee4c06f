"""Epochs and attestations (protocol P6)."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import hypothesis.strategies as st

from crynux_validate.errors import (
    AlreadyDoneError,
    CommitmentMismatchError,
    InvalidInputError,
    NotEnoughNodes,
    TooEarlyError,
    TooLateError,
    UnknownIdError,
)
from crynux_validate.ledger.beacon import LocalBeacon
from crynux_validate.ledger.interface import Status
from crynux_validate.machines.gpu import GpuModel
from crynux_validate.testing.conformance import by_hand
from crynux_validate.testing.conformance.capabilities import needs
from crynux_validate.testing.conformance.harness import Harness
from crynux_validate.testing.conformance.network import CARD, MACHINE, POLICY, TASK, TEXT, SilentBeacon


@needs("text", "manual_clock")
class AttestationRules(Harness):
    """Standard tests of the two windows of an epoch, and of how long what was attested holds."""

    def test_p6_the_challenge_is_the_first_value_that_becomes_public_in_the_epoch(self) -> None:
        clock, policy = self.new_clock(), replace(POLICY, draw_seconds=999)
        for period in (1, 7, 300, 999):
            beacon = LocalBeacon(b"another secret", period=period)
            ledger = self.new_ledger(policy, clock=clock, beacon=beacon)
            for start in (5_000_000 + 1_000 * at for at in range(3)):
                published = -(-start // period) * period
                for now in (start, published - 1, published, start + 999):
                    clock.now = now
                    expected = beacon.value(published // period, now)
                    if start <= now < start + 1_000:
                        epoch = ledger.epoch()
                        assert (epoch.number, epoch.starts) == (start // 1_000, start)
                        assert epoch.challenge == expected
                        assert (expected is None) == (now < published)
            clock.now = 1_000_000

    def test_p6_commitments_are_taken_in_the_first_window_only(self) -> None:
        network = self.network(nodes=3)
        ledger, clock = network.ledger, network.clock
        epoch = ledger.epoch()
        assert clock.now == epoch.starts, "the network begins with an epoch"
        assert (epoch.commit_deadline, epoch.reveal_deadline) == (epoch.starts + 100, epoch.starts + 200)
        commitment = bytes(range(32))
        for number in (epoch.number - 1, -1, 0):
            network.refused(
                TooLateError,
                lambda n=number: ledger.attest_commit("n0", commitment, epoch=n),  # type: ignore[misc]
                "no attesting",
            )
        network.refused(
            TooEarlyError, lambda: ledger.attest_commit("n0", commitment, epoch=epoch.number + 1), "it is ep"
        )
        bad: list[Any] = [True, 1.0, "1", None]
        for number in bad:
            network.refused(
                InvalidInputError,
                lambda n=number: ledger.attest_commit("n0", commitment, epoch=n),  # type: ignore[misc]
                "integer",
            )
        for found in (b"", bytes(31), bytes(33), commitment.hex(), None):
            network.refused(
                InvalidInputError,
                lambda c=found: ledger.attest_commit("n0", c, epoch=epoch.number),  # type: ignore[misc]
                "expected 32 bytes",
            )
        network.refused(UnknownIdError, lambda: ledger.attest_commit("stranger", commitment, epoch=epoch.number))
        node = ledger.attest_commit("n0", commitment, epoch=epoch.number)
        assert node.attest_commitment == (epoch.number, commitment)
        if network.log:
            assert ledger.events()[-1].payload["action"]["challenge"] == (epoch.challenge or b"").hex()
        clock.now = epoch.commit_deadline - 1
        network.attest_commit("n1")
        clock.now += 1
        network.refused(TooLateError, lambda: network.attest_commit("n2"), "took commitments until")

    def test_p6_a_commitment_to_an_attestation_is_never_replaced(self) -> None:
        network = self.network(nodes=1)
        epoch = network.ledger.epoch().number
        network.attest_commit("n0")
        network.refused(
            AlreadyDoneError, lambda: network.ledger.attest_commit("n0", bytes(32), epoch=epoch), "replaced"
        )

    def test_p6_attestations_are_revealed_in_the_second_window_only(self) -> None:
        network = self.network(nodes=3)
        epoch = network.ledger.epoch()
        for node in ("n0", "n1", "n2"):
            network.attest_commit(node)
        network.clock.now = epoch.commit_deadline - 1
        network.refused(TooEarlyError, lambda: network.attest_reveal("n0"), "takes commitments until")
        network.clock.now = epoch.commit_deadline
        assert network.attest_reveal("n0").attestations == (network.attestations["n0"][0],)
        network.refused(AlreadyDoneError, lambda: network.attest_reveal("n0"), "already revealed")
        network.clock.now = epoch.reveal_deadline - 1
        network.attest_reveal("n1")
        network.clock.now = epoch.reveal_deadline
        network.refused(TooLateError, lambda: network.attest_reveal("n2"), "took reveals until")
        network.clock.now = epoch.starts + 1_100
        network.refused(TooLateError, lambda: network.attest_reveal("n2"), "no attesting in epoch")

    def test_p6_a_reveal_opens_the_nodes_own_commitment_to_its_attestation(self) -> None:
        network = self.network(nodes=3)
        ledger = network.ledger
        network.attest_commit("n0")
        network.attest_commit("n1")
        attestation, nonce = network.attestations["n0"]
        digests = (attestation.kernel, attestation.numerics, attestation.canary)
        assert attestation.commitment(ledger=ledger.id, node="n0", nonce=nonce) == by_hand.attestation_commitment(
            ledger.id, attestation.epoch, "n0", digests, nonce
        )
        network.clock.now = ledger.epoch().commit_deadline
        nonces: list[Any] = [b"", bytes(31), "00" * 32, None]
        for value in nonces:
            network.refused(InvalidInputError, lambda n=value: ledger.attest_reveal("n0", attestation, n), "nonce")  # type: ignore[misc]
        values: list[Any] = [None, attestation.to_dict(), nonce]
        for value in values:
            network.refused(InvalidInputError, lambda a=value: ledger.attest_reveal("n0", a, nonce), "Attestation")  # type: ignore[misc]
        no = bytes(32)
        for other in (
            replace(attestation, kernel=no),
            replace(attestation, numerics=no),
            replace(attestation, canary=no),
        ):
            network.refused(
                CommitmentMismatchError,
                lambda a=other: ledger.attest_reveal("n0", a, nonce),  # type: ignore[misc]
                "another attestation",
            )
        network.refused(CommitmentMismatchError, lambda: ledger.attest_reveal("n0", attestation, bytes([1]) * 32))
        network.refused(
            CommitmentMismatchError,
            lambda: ledger.attest_reveal("n1", attestation, nonce),
            "does not fit the commitment",
        )
        network.refused(
            CommitmentMismatchError, lambda: ledger.attest_reveal("n2", attestation, nonce), "cannot reveal"
        )
        network.refused(UnknownIdError, lambda: ledger.attest_reveal("stranger", attestation, nonce))
        assert ledger.attest_reveal("n0", attestation, nonce).attestations == (attestation,)

    def test_p6_an_old_commitment_opens_nothing_in_a_new_epoch(self) -> None:
        network = self.network(nodes=1)
        network.attest_commit("n0")
        network.clock.advance(1_100)
        attestation, nonce = network.attestations["n0"]
        later = replace(attestation, epoch=network.ledger.epoch().number)
        network.refused(
            CommitmentMismatchError, lambda: network.ledger.attest_reveal("n0", later, nonce), "cannot reveal"
        )

    def test_p6_without_a_challenge_there_is_nothing_to_attest(self) -> None:
        network = self.network(nodes=1, beacon=SilentBeacon())
        assert network.ledger.epoch().challenge is None
        network.refused(TooEarlyError, lambda: network.attest_commit("n0"), "challenge of epoch 1000 is not public")

    def test_p6_a_class_holds_until_the_next_reveals_are_over_and_then_lapses(self) -> None:
        network = self.network(nodes=4)
        network.attest()
        ledger, clock = network.ledger, network.clock
        first = network.class_of("n0")
        assert first is not None
        starts = ledger.epoch().starts + 1_000
        clock.now = starts
        for node in ("n0", "n1", "n2"):
            network.attest_commit(node)
        clock.now = starts + 100
        for node in ("n0", "n1"):
            network.attest_reveal(node)
        assert network.class_of("n0") == network.class_of("n3") == first, "half have revealed: they are still one class"
        clock.now = starts + 199
        network.attest_reveal("n2")
        group = network.opened(task=TEXT)
        assert (group.gpu_class, len(group.pool)) == (first, 4)
        clock.now = starts + 200
        second = network.class_of("n0")
        assert second is not None
        assert second != first
        assert second.declaration == first.declaration
        assert network.class_of("n3") is None, "it did not attest: its class has lapsed"
        drawn = ledger.draw(group.id)
        assert (drawn.status, drawn.gpu_class) == (Status.DRAWN, first), "a class is not asked again at the draw (P3)"
        clock.now = starts + 1_199
        assert network.class_of("n0") == second
        clock.now = starts + 1_200
        assert network.class_of("n0") is None
        network.refused(NotEnoughNodes, lambda: network.opened(task=TEXT), "no node has attested")

    def test_p6_machines_that_keep_attesting_are_one_class_at_every_moment(self) -> None:
        """However quickly each of them commits and reveals."""

        def check(commits: list[int], reveals: list[int]) -> None:
            network = self.network(nodes=3)
            for at in range(48):  # who attest nothing: so that many groups can wait
                network.ledger.deposit("idle", 400)
                network.ledger.join(f"idle{at}", owner="idle", gpu=CARD, stake=400)
            network.attest({"n0": MACHINE, "n1": MACHINE, "n2": MACHINE})
            starts = network.ledger.epoch().starts + 1_000
            moments: list[tuple[int, Callable[[], object]]] = []
            for at in range(3):
                moments.append((starts + commits[at], lambda n=f"n{at}": network.attest_commit(n)))  # type: ignore[misc]
                moments.append((starts + 100 + reveals[at], lambda n=f"n{at}": network.attest_reveal(n)))  # type: ignore[misc]
            moments += [(starts + at, lambda: None) for at in (-1, 0, 99, 100, 199, 200, 999, 1_000, 1_199)]
            for now, action in sorted(moments, key=lambda moment: moment[0]):
                network.clock.now = now
                action()
                assert len({network.class_of(node) for node in ("n0", "n1", "n2")} - {None}) == 1
                assert len(network.opened(fee=3, task=TEXT).pool) == 3

        seconds = st.lists(st.integers(0, 99), min_size=3, max_size=3)
        self.tried(check, seconds, seconds)

    def test_p6_who_joins_late_has_no_class_until_the_next_epoch(self) -> None:
        network = self.network(nodes=5)
        network.attest()
        ledger = network.ledger
        ledger.join("late", owner="o0", gpu=CARD, stake=400)
        network.refused(TooLateError, lambda: network.attest_commit("late"), "attest in the next epoch")
        assert network.class_of("late") is None
        assert "late" not in network.opened(task=TEXT).pool.ids
        assert "late" in network.opened(task=TASK).pool.ids, "images ask for no class"
        network.attest()
        assert network.class_of("late") == network.class_of("n0")

    def test_p6_leaving_and_joining_again_clears_what_was_attested(self) -> None:
        network = self.network(nodes=4)
        network.attest()
        ledger = network.ledger
        ledger.leave("n0")
        assert (ledger.node("n0").attest_commitment, ledger.node("n0").attestations) == (None, ())
        ledger.join("n0", owner="o0", gpu=GpuModel("NVIDIA H200", 141), stake=1_000)
        assert network.class_of("n0") is None
        network.attest()
        found = network.class_of("n0")
        assert found is not None
        assert found.gpu.name == "NVIDIA H200"
        assert network.opened(task=TEXT).pool.ids == ("n1", "n2", "n3")

    def test_p6_a_node_keeps_what_it_attested_of_two_epochs(self) -> None:
        network = self.network(nodes=1)
        for _ in range(3):
            network.attest({"n0": MACHINE})
        epoch = network.ledger.epoch().number
        assert [made.epoch for made in network.ledger.node("n0").attestations] == [epoch - 1, epoch]
