"""Signed commitments, and evidence that a third person can check (protocol L8)."""

from dataclasses import replace
from typing import Any

import pytest

from crynux_validate.commitment import Opening
from crynux_validate.errors import InvalidInputError, SignatureError, UnknownIdError
from crynux_validate.judging import Finding
from crynux_validate.ledger.evidence import Evidence, verify_evidence
from crynux_validate.ledger.interface import Group, Status
from crynux_validate.signatures import SigningKey
from crynux_validate.testing.conformance import by_hand
from crynux_validate.testing.conformance.capabilities import needs
from crynux_validate.testing.conformance.harness import Harness, RestartableNetwork
from crynux_validate.testing.conformance.network import CARD, CHEAT, FALSE_REPORT, HONEST, MALFORMED, Network


def key_of(node: str) -> SigningKey:
    """Return the key of node n0, n1, ..."""
    return SigningKey(bytes([int(node[1:])]) * 32)


def sign_and_commit(
    network: Network, group: Group, node: str, key: SigningKey | None, other: dict[str, Any] | None = None
) -> Opening:
    """Commit to an honest answer, signed for this draw, node and round, or for another."""
    opening = Opening.of(HONEST)
    what: dict[str, Any] = {"draw": group.draw, "node": node}
    commitment = by_hand.commitment(by_hand.draw_digest(group), node, opening.answer_bytes, opening.nonce)
    signature = None if key is None else key.sign(commitment, **(what | (other or {})))
    network.ledger.commit(group.id, node, commitment, signature=signature)
    network.openings[group.id, node] = opening
    return opening


class SignedRules(Harness):
    """Standard tests of keys and evidence."""

    def signed_network(self) -> RestartableNetwork:
        """Return three nodes with keys."""
        network = self.network(nodes=0)
        for at in range(3):
            node = f"n{at}"
            network.ledger.deposit(f"o{at}", 5_000)
            network.ledger.join(node, owner=f"o{at}", gpu=CARD, stake=1_000, public_key=key_of(node).public_key)
        return network

    @needs("signatures")
    def test_l8_a_node_with_a_key_signs_its_commitments(self) -> None:
        network = self.signed_network()
        group = network.drawn()
        for node in group.members:
            sign_and_commit(network, group, node, key_of(node))
        for node in group.members:
            network.ledger.reveal(group.id, node, network.openings[group.id, node].to_bytes())
        settled = network.ledger.settle(group.id)
        assert settled.status is Status.SETTLED, "an opening needs no signature: anybody can hand it in"
        (only,) = settled.rounds
        for node in group.members:
            assert only.signatures[node].public_key == key_of(node).public_key
            assert network.ledger.node(node).public_key == key_of(node).public_key
            by_hand.check_signature(
                only.signatures[node].value,
                key_of(node).public_key,
                by_hand.draw_digest(group),
                node,
                only.commitments[node],
            )
        assert network.ledger.group(group.id) == settled

    @needs("signatures")
    def test_l8_nobody_else_commits_for_a_node_with_a_key(self) -> None:
        network = self.signed_network()
        group = network.drawn()
        node, other, _ = group.members
        network.refused(SignatureError, lambda: sign_and_commit(network, group, node, None), "joined with a key")
        assert group.draw is not None
        wrong: list[tuple[SigningKey, dict[str, Any]]] = [
            (key_of(other), {}),
            (key_of(node), {"node": other}),
            (key_of(node), {"draw": replace(group.draw, fee=group.fee + 1)}),
            (key_of(node), {"draw": replace(group.draw, task="ab" * 32)}),
            (key_of(node), {"draw": replace(group.draw, policy="ab" * 32)}),
            (key_of(node), {"draw": replace(group.draw, beacon_round=group.beacon_round + 1)}),
            (key_of(node), {"seed": bytes(32)}),
        ]
        for key, ids in wrong:
            network.refused(
                SignatureError,
                lambda k=key, i=ids: sign_and_commit(network, group, node, k, i),  # type: ignore[misc]
                f"signature of {node} is not valid",
            )
        values: list[Any] = [b"", bytes(64), b"x" * 63, "text"]
        for value in values:
            network.refused(
                SignatureError,
                lambda v=value: network.ledger.commit(group.id, node, bytes(32), signature=v),  # type: ignore[misc]
            )
        sign_and_commit(network, group, node, key_of(node))

    @needs("signatures")
    def test_l8_a_node_without_a_key_has_nothing_to_sign_with(self) -> None:
        network = self.network()
        group = network.drawn()
        node = group.members[0]
        key = SigningKey(bytes(32))
        network.refused(SignatureError, lambda: sign_and_commit(network, group, node, key), "joined without a key")
        sign_and_commit(network, group, node, None)
        assert not network.ledger.group(group.id).rounds[0].signatures

    @needs("signatures")
    def test_l8_another_key_is_taken_by_leaving_and_joining_again(self) -> None:
        network = self.signed_network()
        new = SigningKey(bytes([99]) * 32)
        group = network.drawn()
        for node in group.members:
            sign_and_commit(network, group, node, key_of(node))
        for node in group.members:
            network.reveal(group.id, node)
        before = network.ledger.settle(group.id)
        network.ledger.leave("n0")
        network.ledger.join("n0", owner="o0", gpu=CARD, stake=1_000, public_key=new.public_key)
        assert network.ledger.group(group.id) == before, "what was signed keeps the key that signed it"
        network.ledger.deposit("app", 1_000)
        again = network.drawn()
        network.refused(SignatureError, lambda: sign_and_commit(network, again, "n0", key_of("n0")))
        sign_and_commit(network, again, "n0", new)

    @needs("signatures")
    def test_l8_what_is_no_key_is_refused(self) -> None:
        network = self.network(nodes=1)
        keys: list[Any] = [b"", bytes(31), bytes(33), "ab" * 32, 7]
        for key in keys:
            network.refused(
                InvalidInputError,
                lambda k=key: network.ledger.join("x", owner="o0", gpu=CARD, stake=400, public_key=k),  # type: ignore[misc]
                "expected 32 bytes, as SigningKey",
            )

    @needs("signatures", "restart")
    def test_l8_a_restart_keeps_keys_and_signatures(self) -> None:
        network = self.signed_network()
        group = network.drawn()
        node, other, _ = group.members
        sign_and_commit(network, group, node, key_of(node))
        before = network.ledger.group(group.id)
        network.restart()
        assert network.ledger.group(group.id) == before
        network.refused(SignatureError, lambda: sign_and_commit(network, group, other, None))
        sign_and_commit(network, group, other, key_of(other))

    @needs("evidence")
    def test_l8_evidence_of_every_finding_can_be_checked(self) -> None:
        """By whoever has nothing but its JSON."""
        network = self.network(nodes=7)
        for answer in (CHEAT, MALFORMED, FALSE_REPORT, None):
            group = network.answered(HONEST, HONEST, answer)
            assert group.verdict is not None
            for node in group.members:
                found = network.ledger.evidence(group.id, node)
                again = Evidence.from_json(found.to_json())
                assert (again, again.group, again.node) == (found, group, node)
                assert verify_evidence(again).finding is group.verdict.findings[node]
            assert group.verdict.findings[group.members[2]] is (Finding.INVALID if answer else Finding.ABSENT)

    @needs("evidence", "signatures")
    def test_l8_signed_evidence_is_of_the_keys_that_are_known(self) -> None:
        network = self.signed_network()
        group = network.drawn()
        for node in group.members:
            sign_and_commit(network, group, node, key_of(node))
        for node in group.members[:2]:
            network.reveal(group.id, node)
        network.until(group.reveal_deadline)
        network.ledger.settle(group.id)
        silent = group.members[2]
        keys = {node: key_of(node).public_key for node in group.members}
        evidence = Evidence.from_json(network.ledger.evidence(group.id, silent).to_json())
        assert verify_evidence(evidence, keys).finding is Finding.WITHHELD

    @needs("evidence")
    def test_l8_evidence_is_of_a_member_of_a_settled_group(self) -> None:
        network = self.network()
        group = network.drawn()
        with pytest.raises(InvalidInputError):
            network.ledger.evidence(group.id, group.members[0])
        with pytest.raises(UnknownIdError):
            network.ledger.evidence("no-such-group", "n0")
        network.until(group.commit_deadline)
        network.ledger.settle(group.id)
        stranger = next(node.id for node in network.ledger.nodes() if node.id not in group.members)
        with pytest.raises(InvalidInputError):
            network.ledger.evidence(group.id, stranger)
