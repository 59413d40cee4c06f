"""Classes, attestations, and which classes text tasks may go to (protocol P2, P3, P6)."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from crynux_validate import GpuModel
from crynux_validate.errors import InvalidInputError
from crynux_validate.machines import Attestation, Environment, Node, NodeClass, admitted_classes, class_of, classes_of
from crynux_validate.machines.pairing import supply_of, weight_of

CARD = GpuModel("NVIDIA GeForce RTX 4090", 24)
OTHER_CARD = GpuModel("NVIDIA GeForce RTX 4090 D", 24)
KERNEL, NUMERICS, CANARY, NONCE = (bytes([at]) * 32 for at in range(1, 5))
CLASS = NodeClass(CARD, KERNEL, NUMERICS, CANARY)
ATTESTATION = Attestation(7, KERNEL, NUMERICS, CANARY)

digests = st.sampled_from([bytes([at]) * 32 for at in range(1, 4)])
cards = st.sampled_from([CARD, OTHER_CARD, GpuModel("NVIDIA A100", 40), GpuModel("NVIDIA A100", 80)])
classes = st.builds(NodeClass, cards, digests, digests, digests)


def node(name: str, stake: int = 1_000, owner: str | None = None, epoch: int = 7, **parts: Any) -> Node:
    """A node that attested in one epoch; `parts` say in what it is not `CLASS`, or what has become of it."""
    digests = {"kernel": KERNEL, "numerics": NUMERICS, "canary": CANARY}
    attested = Attestation(epoch, **{part: parts.pop(part, value) for part, value in digests.items()})
    return Node(name, owner or f"owner-of-{name}", parts.pop("gpu", CARD), stake, attestations=(attested,), **parts)


def table(nodes: list[Node], epoch: int = 7, min_stake: int = 400, weight_unit: int = 1) -> Mapping[NodeClass, Any]:
    return classes_of(nodes, epoch=epoch, min_stake=min_stake, weight_unit=weight_unit)


def admitted(nodes: list[Node], declarations: tuple[str, ...] = (), owners: int = 3, stake: int = 0) -> list[NodeClass]:
    found = admitted_classes(table(nodes), declarations=declarations, min_owners=owners, min_stake=stake)
    return [facts.node_class for facts in found]


@given(classes, classes)
def test_classes_are_equal_where_every_part_is(a: NodeClass, b: NodeClass) -> None:
    same = (a.gpu, a.kernel, a.numerics, a.canary) == (b.gpu, b.kernel, b.numerics, b.canary)
    assert (a == b) == (a.digest == b.digest) == (a.to_dict() == b.to_dict()) == same
    declared = (a.gpu, a.kernel, a.numerics) == (b.gpu, b.kernel, b.numerics)
    assert (a.declaration == b.declaration) == declared
    assert a.declaration != a.digest


@given(classes)
def test_a_class_survives_json(found: NodeClass) -> None:
    assert NodeClass.from_dict(json.loads(json.dumps(found.to_dict()))) == found
    assert str(found) == f"{found.gpu}, class {found.digest[:12]}"


def test_the_bytes_of_a_class() -> None:
    record = {name: value.hex() for name, value in (("kernel", KERNEL), ("numerics", NUMERICS))}
    for found, fields in ((CLASS.declaration, {}), (CLASS.digest, {"canary": CANARY.hex()})):
        text = rfc8785.dumps({"gpu": CARD.to_dict(), **record, **fields})
        assert found == hashlib.sha256(prefixed(b"crynux-validate/class/1", text)).hexdigest()


def test_the_bytes_of_a_commitment_to_an_attestation() -> None:
    told = prefixed(b"crynux-validate/attestation/1", b"l") + (7).to_bytes(8, "big") + prefixed(b"node-1")
    expected = hashlib.sha256(told + KERNEL + NUMERICS + CANARY + NONCE).digest()
    assert ATTESTATION.commitment(ledger="l", node="node-1", nonce=NONCE) == expected


def prefixed(*parts: bytes) -> bytes:
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def test_a_commitment_binds_every_part() -> None:
    def commitment(change: Mapping[str, Any], **names: Any) -> bytes:
        return replace(ATTESTATION, **change).commitment(**{"ledger": "l", "node": "n", "nonce": NONCE, **names})

    changes: list[Mapping[str, Any]] = [{"epoch": 8}, {"kernel": CANARY}, {"numerics": CANARY}, {"canary": KERNEL}]
    found = {commitment({}), *(commitment(change) for change in changes)}
    found |= {commitment({}, ledger="m"), commitment({}, node="m"), commitment({}, nonce=CANARY)}
    assert len(found) == 8


@given(st.integers(0, 2**53 - 1), digests, digests, digests)
def test_an_attestation_survives_json(epoch: int, kernel: bytes, numerics: bytes, canary: bytes) -> None:
    found = Attestation(epoch, kernel, numerics, canary)
    assert Attestation.from_dict(json.loads(json.dumps(found.to_dict()))) == found


def test_an_environment_is_attested() -> None:
    environment = Environment({"torch": {"version": "2.13.0"}}, {"tf32": False})
    found = Attestation.of(environment, epoch=7, canary=CANARY)
    assert found == Attestation(7, environment.kernel_digest, environment.numerics_digest, CANARY)


@pytest.mark.parametrize(
    "change",
    [{"gpu": "RTX 4090"}, {"kernel": b"short"}, {"kernel": KERNEL.hex()}, {"numerics": None}, {"canary": bytes(33)}],
)
def test_bad_classes(change: dict[str, Any]) -> None:
    (name,) = change
    with pytest.raises(InvalidInputError, match=name):
        replace(CLASS, **change)


@pytest.mark.parametrize(
    "change",
    [
        {"epoch": -1},
        {"epoch": 2**53},
        {"epoch": True},
        {"epoch": 7.0},
        {"kernel": b""},
        {"numerics": "00" * 32},
        {"canary": bytes(31)},
    ],
)
def test_bad_attestations(change: dict[str, Any]) -> None:
    (name,) = change
    with pytest.raises(InvalidInputError, match=name):
        replace(ATTESTATION, **change)


def test_bad_json_names_and_nonces() -> None:
    for reader, good in ((NodeClass.from_dict, CLASS.to_dict()), (Attestation.from_dict, ATTESTATION.to_dict())):
        broken: list[object] = [None, [], {}, {**good, "more": 1}, {**good, "kernel": "zz" * 32}, {**good, "canary": 5}]
        broken += [{**good, "numerics": "00"}, {name: good[name] for name in good if name != "kernel"}]
        for value in broken:
            with pytest.raises(InvalidInputError):
                reader(value)
    with pytest.raises(InvalidInputError, match="expected an Environment"):
        Attestation.of(None, epoch=1, canary=CANARY)  # type: ignore[arg-type]
    for names in ({"ledger": ""}, {"node": "n\n"}, {"nonce": b"short"}, {"nonce": "00" * 32}):
        with pytest.raises(InvalidInputError):
            ATTESTATION.commitment(**{"ledger": "l", "node": "n", "nonce": NONCE, **names})  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError) as caught:
        ATTESTATION.commitment(ledger="l", node="n", nonce=b"secret")
    assert "secret'" not in str(caught.value), "a nonce is not shown"


def test_a_class_is_of_the_epoch_in_force() -> None:
    old, new = Attestation(6, KERNEL, NUMERICS, CANARY), Attestation(7, CANARY, NUMERICS, KERNEL)
    found = Node("n", "o", CARD, 1_000, attestations=(old, new))
    assert class_of(found, 6) == CLASS
    assert class_of(found, 7) == NodeClass(CARD, CANARY, NUMERICS, KERNEL)
    assert class_of(found, 8) is None
    assert class_of(Node("n", "o", CARD, 1_000), 7) is None
    for epoch in (6, 7, 8):
        assert list(table([found], epoch)) == [class_of(found, epoch)] * (epoch < 8)


def test_what_is_known_of_a_class() -> None:
    nodes = [
        node("a", 1_000, owner="x"),
        node("b", 2_000, owner="x", group="group-1"),
        node("c", 450, owner="y", group="group-1"),
        node("poor", 399),
        node("lazy", suspended=True),
        node("going", leaving=4),
        node("gone", joined=False),
        node("late", epoch=6),
        node("other", gpu=OTHER_CARD),
    ]
    facts = table(nodes, weight_unit=100)[CLASS]
    assert [found.id for found in facts.nodes] == ["a", "b", "c", "poor", "lazy", "going"]
    assert (facts.owners, facts.available, facts.stake, facts.weight) == (2, 1, 3_450, 34)
    assert "2 owners, 1 available, stake 3450" in str(facts)
    assert len(table(nodes)) == 2


rosters = st.lists(
    st.builds(
        lambda at, owner, stake, gpu, kernel, canary, epoch, busy, suspended, joined, leaving: node(
            f"n{at}", stake, f"o{owner}", epoch, gpu=gpu, kernel=kernel, canary=canary,
            group="group-1" if busy else None, suspended=suspended, joined=joined, leaving=leaving,
        ),
        st.integers(0, 10**6), st.integers(0, 5), st.integers(0, 2_000), cards, digests, digests,
        st.sampled_from([6, 7, 7, 7]), st.booleans(), st.booleans(), st.sampled_from([True, True, False]),
        st.sampled_from([None, None, 0, 3]),
    ),
    max_size=25, unique_by=lambda found: found.id,
)  # fmt: skip


@given(rosters, st.integers(1, 3), st.integers(0, 3_000), st.lists(classes, max_size=3), st.randoms())
def test_the_table_and_admission_beside_their_definitions(
    nodes: list[Node], min_owners: int, min_stake: int, listed: list[NodeClass], random: Any
) -> None:
    found = table(nodes)
    by_class = {wanted: [n for n in nodes if n.joined and class_of(n, 7) == wanted] for wanted in found}
    assert {n.id for members in by_class.values() for n in members} == {
        n.id for n in nodes if n.joined and class_of(n, 7) is not None
    }
    for wanted, facts in found.items():
        serving = [n for n in by_class[wanted] if not n.suspended and n.leaving is None and n.stake >= 400]
        assert list(facts.nodes) == by_class[wanted]
        assert facts.owners == len({n.owner for n in serving})
        assert facts.available == len({n.owner for n in serving if n.group is None})
        assert (facts.stake, facts.weight) == (
            sum(n.stake for n in serving),
            sum(weight_of(n.stake, 1) for n in serving),
        )
    order = [(-facts.weight, facts.node_class.digest) for facts in found.values()]
    assert order == sorted(order)

    declarations = [each.declaration for each in listed]
    ranked = admitted_classes(found, declarations=declarations, min_owners=min_owners, min_stake=min_stake)
    for wanted, facts in found.items():
        rivals = [other for other in found if other.declaration == wanted.declaration]
        by_list = wanted.declaration in declarations and rivals[0] == wanted
        by_size = facts.owners >= min_owners and facts.stake >= min_stake
        assert (facts in ranked) == (by_list or by_size)
    assert [facts.node_class for facts in ranked] == [wanted for wanted in found if found[wanted] in ranked]
    random.shuffle(nodes)
    again = admitted_classes(table(nodes), declarations=declarations, min_owners=min_owners, min_stake=min_stake)
    assert [facts.node_class for facts in again] == [facts.node_class for facts in ranked]

    for facts in found.values():
        supply = supply_of(facts.nodes, creator="o0", min_stake=400, min_memory_gib=0, weight_unit=1)
        members = {n.id: n for n in nodes}
        assert {class_of(members[candidate.id], 7) for candidate in supply.pool} <= {facts.node_class}
        assert "o0" not in {candidate.owner for candidate in supply.pool}
        others = [
            n for n in facts.nodes if n.owner == "o0" and not n.suspended and n.leaving is None and n.stake >= 400
        ]
        assert supply.base == facts.weight - sum(weight_of(n.stake, 1) for n in others)
        assert supply.base_owners == facts.owners - bool(others)
        assert supply.pool.total_weight <= supply.base


HONEST = [node(f"honest-{at}", 1_000) for at in range(4)]


def test_many_nodes_under_one_name_are_one_owner() -> None:
    invented = [node(f"cheat-{at}", 9_000, owner="cheat", canary=NONCE) for at in range(3)]
    assert admitted([*HONEST, *invented]) == [CLASS]


def test_three_names_with_little_stake_are_too_little() -> None:
    invented = [node(f"cheat-{at}", 400, canary=NONCE) for at in range(3)]
    assert len(admitted([*HONEST, *invented])) == 2, "owners alone do not keep them out"
    assert admitted([*HONEST, *invented], stake=2_400) == [CLASS]


def test_what_is_listed_is_admitted_whatever_its_size_but_only_once() -> None:
    rare = [node("rare", 500, gpu=OTHER_CARD)]
    (listed,) = table(rare)
    assert admitted([*HONEST, *rare]) == [CLASS]
    assert admitted([*HONEST, *rare], (listed.declaration,)) == [CLASS, listed]
    false = [node("false", 400, gpu=OTHER_CARD, canary=NONCE)]
    assert admitted([*HONEST, *rare, *false], (listed.declaration,)) == [CLASS, listed]
    only_the_list = admitted([*HONEST, *rare, *false], (listed.declaration,), owners=2**31)
    assert only_the_list == [listed]


def test_the_heaviest_comes_first_and_equals_by_digest() -> None:
    light = [node(f"light-{at}", 500, kernel=NONCE) for at in range(4)]
    assert admitted([*light, *HONEST])[0] == CLASS
    equal = [node(f"equal-{at}", 1_000, kernel=NONCE) for at in range(4)]
    both = admitted([*equal, *HONEST])
    assert [found.digest for found in both] == sorted(found.digest for found in both)
