"""What a caller passes by mistake ends in an error of this library; what it returns shows in one line what it is."""

import json
import math
from collections.abc import Callable
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import crynux_validate as cv
from crynux_validate.keyed import keyed_seed
from crynux_validate.machines.pairing import choose_members
from crynux_validate.signatures import attestation_bytes, signed_bytes
from crynux_validate.testing import ManualClock
from crynux_validate.testing.conformance.network import CHEAT, CHECKED, HONEST, MACHINE, POLICY, TEXT, Network

WRONG: list[Any] = [None, 1, -1, 2.5, math.nan, "x", b"x", [], {}, [1], ("a",), [[None]], {"a": 1}, object(), int]
MEMBERS = dict.fromkeys("abc", HONEST)
KEY = cv.SigningKey(bytes(32))
POOL = cv.machines.Pool([cv.machines.Candidate("n", "o", 1)])
DRAW = cv.machines.Draw("l", "g", "00" * 32, "00" * 32, 3, 0, b"b", POOL, {}, 0, ("n",))
PICTURE = Image.new("RGB", (64, 64))


def ledger() -> cv.MemoryLedger:
    return cv.MemoryLedger(POLICY, ledger_id="ledger-1", clock=ManualClock(), beacon=cv.ledger.LocalBeacon(b"secret"))


CALLS: dict[str, Callable[[Any], object]] = {
    "judge members": cv.judge,
    "judge rule": lambda wrong: cv.judge(MEMBERS, wrong),
    "judge_many": cv.judging.judge_many,
    "judge_many kinds": lambda wrong: cv.judging.judge_many(np.zeros((1, 3, 1), np.uint64), wrong),
    "judge_many rule": lambda wrong: cv.judging.judge_many(np.zeros((1, 3, 1), np.uint64), None, wrong),
    "CentreRule": cv.CentreRule,
    "CentreRule slash_threshold": lambda wrong: cv.CentreRule(64, wrong),
    "CentreRule safety_checker": lambda wrong: cv.CentreRule(safety_checker=wrong),
    "CrynuxRelayRule": lambda wrong: cv.judging.CrynuxRelayRule(wrong, seconds={}),
    "CrynuxRelayRule seconds": lambda wrong: cv.judging.CrynuxRelayRule(seconds=wrong),
    "Verdicts.ended": lambda wrong: cv.judging.judge_many(np.zeros((1, 3, 1), np.uint64)).ended(wrong),
    "Verdicts.found": lambda wrong: cv.judging.judge_many(np.zeros((1, 3, 1), np.uint64)).found(wrong),
    "agree": lambda wrong: cv.answers.agree(wrong, HONEST, 16),
    "agree threshold": lambda wrong: cv.answers.agree(HONEST, HONEST, wrong),
    "similarity_score": lambda wrong: cv.answers.similarity_score(wrong, HONEST),
    "similarity_score other": lambda wrong: cv.answers.similarity_score(HONEST, wrong),
    "check_answer": lambda wrong: cv.answers.check_answer(CHECKED, wrong),
    "answer_from_bytes": cv.answers.answer_from_bytes,
    "ImageScore": cv.ImageScore,
    "ImageScore.from_hex": cv.ImageScore.from_hex,
    "ImageScore.from_images": cv.ImageScore.from_images,
    "TextScore": cv.TextScore,
    "TextScore.from_hex": cv.TextScore.from_hex,
    "TextScore.from_tokens": cv.TextScore.from_tokens,
    "TextScore.from_tokens logits": lambda wrong: cv.TextScore.from_tokens([[1, 2]], wrong),
    "ErrorReport": cv.ErrorReport,
    "ErrorReport.of": cv.ErrorReport.of,
    "Opening": cv.Opening,
    "Opening.of": cv.Opening.of,
    "Opening.from_bytes": cv.Opening.from_bytes,
    "KeyedScore": cv.keyed.KeyedScore,
    "KeyedScore.from_bytes": cv.keyed.KeyedScore.from_bytes,
    "KeyedScore.from_tokens": lambda wrong: cv.keyed.KeyedScore.from_tokens(bytes(32), wrong),
    "GpuModel": lambda wrong: cv.GpuModel(wrong, 24),
    "GpuModel memory_gib": lambda wrong: cv.GpuModel("NVIDIA L4", wrong),
    "GpuModel.parse": cv.GpuModel.parse,
    "GpuModel.from_dict": cv.GpuModel.from_dict,
    "Environment.from_dict": cv.machines.Environment.from_dict,
    "Environment.compare": lambda wrong: cv.machines.Environment({}, {}).compare(wrong),
    "NodeClass.from_dict": cv.machines.NodeClass.from_dict,
    "Attestation.from_dict": cv.machines.Attestation.from_dict,
    "Attestation.of": lambda wrong: cv.machines.Attestation.of(wrong, epoch=1, canary=bytes(32)),
    "class_of": lambda wrong: cv.machines.class_of(wrong, 0),
    "Pool": cv.machines.Pool,
    "Pool.from_columns": lambda wrong: cv.machines.Pool.from_columns(wrong, ["o"], [1]),
    "choose_members": lambda wrong: choose_members(wrong, 3, ledger="l", group="g", beacon=b"b"),
    "choose_members size": lambda wrong: choose_members(POOL, wrong, ledger="l", group="g", beacon=b"b"),
    "choose_members beacon": lambda wrong: choose_members(POOL, 1, ledger="l", group="g", beacon=wrong),
    "verify_draw": cv.verify_draw,
    "Draw.digest task": lambda wrong: replace(DRAW, task=wrong).digest,
    "Draw.digest fee": lambda wrong: replace(DRAW, fee=wrong).digest,
    "Draw.digest beacon_round": lambda wrong: replace(DRAW, beacon_round=wrong).digest,
    "Opening.commitment": lambda wrong: cv.Opening(b"").commitment(wrong, node="n"),
    "Opening.commitment node": lambda wrong: cv.Opening(b"").commitment("00" * 32, node=wrong),
    "keyed_seed": lambda wrong: keyed_seed(wrong, {}),
    "keyed_seed nonces": lambda wrong: keyed_seed("00" * 32, wrong),
    "signed_bytes": lambda wrong: signed_bytes(wrong, "00" * 32, node="n"),
    "signed_bytes draw_digest": lambda wrong: signed_bytes(bytes(32), wrong, node="n"),
    "attestation_bytes": lambda wrong: attestation_bytes(wrong, ledger="l", epoch=0, node="n"),
    "attestation_bytes epoch": lambda wrong: attestation_bytes(bytes(32), ledger="l", epoch=wrong, node="n"),
    "SigningKey": cv.SigningKey,
    "SigningKey.sign draw": lambda wrong: KEY.sign(bytes(32), wrong, node="n"),
    "Policy.from_dict": cv.Policy.from_dict,
    "verify_evidence": cv.verify_evidence,
    "Evidence group": lambda wrong: cv.ledger.Evidence("ledger-1", "n0", wrong),
    "Evidence.from_json": cv.ledger.Evidence.from_json,
    "MemoryLedger clock": lambda wrong: cv.MemoryLedger(clock=wrong),
    "MemoryLedger beacon": lambda wrong: cv.MemoryLedger(beacon=wrong),
    "MemoryLedger policy": cv.MemoryLedger,
    "MemoryLedger.replay": cv.MemoryLedger.replay,
    "required_stake": lambda wrong: cv.required_stake(wrong, 10),
    "required_stake price": lambda wrong: cv.required_stake(90, 10, price=wrong),
    "required_stake dishonest_weight": lambda wrong: cv.required_stake(90, 10, dishonest_weight=wrong),
    "required_stake absent": lambda wrong: cv.required_stake(90, 10, absent=wrong),
    "required_stake group_size": lambda wrong: cv.required_stake(90, 10, group_size=wrong),
    "required_stake slash_per_fee": lambda wrong: cv.required_stake(90, 10, slash_per_fee=wrong),
    "expected_gain": lambda wrong: cv.expected_gain(wrong, 90, 10),
    "false_accept_rate": cv.stakes.false_accept_rate,
    "hamming": lambda wrong: cv.hamming(wrong, HONEST.hashes),
    "hash_array": cv.hashing.hash_array,
    "image_hash": cv.image_hash,
    "image_hashes": cv.hashing.image_hashes,
}

RIGHT: dict[str, list[Any]] = {
    "Pool": [[], {}],
    "Pool.from_columns": [("a",)],
    "choose_members size": [1],
    "choose_members beacon": [b"x"],
    "Draw.digest fee": [1],
    "Draw.digest beacon_round": [1],
    "Opening.commitment node": ["x"],
    "keyed_seed nonces": [{}],
    "attestation_bytes epoch": [1],
    "CentreRule": [1],
    "CentreRule slash_threshold": [None],
    "CrynuxRelayRule": [1],
    "CrynuxRelayRule seconds": [{}, {"a": 1}],
    "judge rule": [None],
    "judge_many kinds": [None],
    "judge_many rule": [None],
    "agree threshold": [1],
    "required_stake group_size": [None],
    "TextScore.from_tokens": [[[]]],
    "TextScore.from_tokens logits": [None],
    "ErrorReport": [],
    "Opening": [b"x"],
    "GpuModel": ["x"],
    "GpuModel memory_gib": [1],
    "MemoryLedger clock": [None],
    "MemoryLedger beacon": [None],
    "MemoryLedger policy": [None],
    "required_stake": [1],
    "required_stake price": [1, 2.5],
    "required_stake dishonest_weight": [1, 2.5],
    "required_stake absent": [1],
    "required_stake slash_per_fee": [None, 1],
    "expected_gain": [1, 2.5],
    "false_accept_rate": [1],
    "hamming": [1],
    "hash_array": [1, [], [1]],
    "image_hashes": [[], {}],
}
"""What is no mistake there."""


@pytest.mark.parametrize("name", CALLS)
def test_a_wrong_type_is_an_error_of_this_library(name: str) -> None:
    for wrong in WRONG:
        if any(type(wrong) is type(right) and wrong == right for right in RIGHT.get(name, [])):
            CALLS[name](wrong)
            continue
        if name.startswith("MemoryLedger clock") and wrong is int:
            continue  # it can be called
        with pytest.raises(cv.CrynuxValidateError) as caught:
            CALLS[name](wrong)
        assert str(caught.value), "an error without a word"
        assert len(str(caught.value)) < 500


@pytest.mark.parametrize("rule", [16, 0, "centre", cv.CentreRule, object()])
def test_a_rule_is_no_threshold(rule: Any) -> None:
    with pytest.raises(
        cv.errors.InvalidInputError, match=r"rule is .*; expected a rule, like CentreRule\(threshold=16\)"
    ):
        cv.judge(MEMBERS, rule)


def test_a_score_without_its_digest_says_what_to_do() -> None:
    for score in (cv.ImageScore.from_hex("f0" * 8), cv.TextScore.from_hex("f0" * 32)):
        with pytest.raises(
            cv.errors.InvalidAnswerError, match=r"no result digest.* take the score of a result.*result_digest"
        ):
            cv.Opening.of(score)
    with pytest.raises(cv.errors.InvalidAnswerError, match=r"Opening\(score.to_bytes\(\)\)"):
        cv.Opening.of(cv.keyed.KeyedScore(bytes(32)))  # type: ignore[arg-type]
    with pytest.raises(cv.errors.InvalidInputError, match=r"\[picture\] for one"):
        cv.ImageScore.from_images(PICTURE)  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------------ what is shown


@pytest.fixture(scope="module")
def settled() -> tuple[Network, cv.Group]:
    clock = ManualClock()
    made = cv.MemoryLedger(POLICY, ledger_id="ledger-1", clock=clock, beacon=cv.ledger.LocalBeacon(b"secret"))
    network = Network(made, clock, nodes=9)
    network.attest()
    return network, network.answered(HONEST, HONEST, CHEAT)


def test_what_a_ledger_returns_shows_in_one_line_what_it_is(settled: tuple[Network, cv.Group]) -> None:
    network, group = settled
    made, node = network.ledger, group.members[2]
    evidence = made.evidence(group.id, node)
    node_class = cv.machines.class_of(made.node(node), made.epoch().in_force)
    challenge = made.epoch().challenge
    assert challenge is not None
    assert node_class is not None
    opened = network.opened()
    expected: list[tuple[object, list[str]]] = [
        (group, [group.id, "SETTLED", "VALIDATED", *group.members]),
        (opened, [opened.id, "OPEN", "no members yet"]),
        (group.draw, [group.id, *group.members]),
        (group.rounds[0], ["3 committed", "3 revealed"]),
        (group.verdict, ["VALIDATED", HONEST.hex, f"{node} INVALID"]),
        (made.epoch(), [str(made.epoch().number), challenge.hex()]),
        (made.totals(), [str(made.totals().stakes)]),
        (made.node(node), [node, "NVIDIA GeForce RTX 4090", "stake 0"]),
        (made, ["MemoryLedger", "ledger-1"]),
        (made.events()[-1], [made.events()[-1].kind, made.events()[-1].digest[:12]]),
        (evidence, [node, group.id, "INVALID"]),
        (cv.verify_evidence(evidence), [node, group.id, "INVALID"]),
        (HONEST, ["phash/1", HONEST.hex]),
        (cv.ImageScore(bytes(128)), ["no result digest"]),
        (cv.TextScore(bytes(32)), ["tokens/1", "00" * 32]),
        (cv.keyed.KeyedScore(bytes(32)), ["digest/1", "00" * 32]),
        (cv.ErrorReport("failed", "x\n" * 500), ["failed"]),
        (cv.judging.Malformed("x\n" * 5_000), ["Malformed"]),
        (cv.Opening.of(HONEST), [HONEST.hex]),
        (cv.Opening(bytes(4_000)), ["4000 answer bytes"]),
        (node_class, ["RTX 4090", node_class.digest[:12]]),
        (MACHINE.attestation(b"x", 7), ["epoch 7"]),
        (cv.judging.CrynuxRelayRule(seconds={f"n{at}": 1.0 for at in range(1_000)}), ["1000 nodes"]),
        (cv.CentreRule(), ["safety_checker=True"]),
        (cv.judging.judge_many(np.zeros((1_000, 3, 1), np.uint64)), ["1000 groups"]),
        (CHECKED, [CHECKED.digest[:12], "owner/name@"]),
        (CHECKED.replace(prompt="\n" * 8_000, scheduler_args={}), [CHECKED.scheduler]),
        (TEXT, [TEXT.digest[:12], "owner/name@"]),
        (TEXT.replace(prompt="x" * 1_000_000, messages=None, tools=()), ["xxx..."]),
        (TEXT.replace(prompt=None, messages=[{"role": "user", "content": "hello"}]), ["1 messages", "hello"]),
        (CHECKED.model, [str(CHECKED.model)]),
        (cv.ModelRef(digest="0" * 64, path=Path("/models/one")), ["0" * 64, "/models/one"]),
        (cv.Policy(), ["group_size 3", "threshold 16", "min_stake 400"]),
        (cv.Policy(suspend_after=7, admitted_declarations=("0" * 64,) * 50), ["suspend_after 7"]),
        (cv.hashing.nearest_hashes(0, range(1_000), 500), ["500 hashes", "0 at distance 0", "..."]),
        (cv.ledger.Signature(bytes(32), bytes(64)), ["00" * 32]),
        (cv.image_hash(PICTURE), ["phash/1", "degenerate"]),
        (cv.ledger.LocalBeacon(b"secret", period=30), ["local/30"]),
        (
            cv.machines.Environment({"a": "x" * 9_000}, {}),
            [cv.machines.Environment({"a": "x" * 9_000}, {}).kernel_digest.hex()[:12]],
        ),
    ]
    for value, words in expected:
        shown = repr(value)
        assert shown.isprintable(), shown
        assert len(shown) <= 320, shown
        for word in words:
            assert word in shown, (word, shown)
    for text in (repr, str):
        assert len(text(CHECKED.replace(prompt="x" * 8_000))) <= 320
        assert not any(word in text(cv.ledger.LocalBeacon(b"secret")) for word in ("secret", b"secret".hex(), "0x"))
    nonce = cv.Opening.of(HONEST).nonce
    assert nonce.hex() not in repr(cv.Opening(HONEST.to_bytes(), nonce)), "a nonce is secret"


def test_what_a_ledger_returns_is_json(settled: tuple[Network, cv.Group]) -> None:
    network, group = settled
    made = network.ledger
    node = made.node(group.members[0])
    committed = made.node(group.members[1])
    assert committed.attest_commitment is not None
    opened = network.opened()
    network.clock.advance(1)
    drawn = made.draw(opened.id)
    assert drawn.status is cv.ledger.Status.DRAWN
    for value in (node, committed, group, opened, drawn, made.epoch(), made.totals(), group.verdict):
        assert value is not None
        said = value.to_dict()
        assert json.loads(json.dumps(said)) == said, "a value that JSON does not have"
    for record in (node, made.epoch(), made.totals()):
        assert list(record.to_dict()) == [field.name for field in fields(record)]
    assert committed.to_dict()["attest_commitment"]["epoch"] == committed.attest_commitment[0]
    assert node.to_dict()["stake"] == str(node.stake)
    assert {name: int(amount) for name, amount in made.totals().to_dict().items()} == asdict(made.totals())
    assert group.to_dict()["members"] == list(group.members)
    assert (opened.to_dict()["members"], opened.to_dict()["beacon"]) == ([], None)
    assert group.verdict is not None
    assert group.verdict.to_dict()["distances"] == dict(group.verdict.distances)


def test_the_settle_event_keeps_its_fields(settled: tuple[Network, cv.Group]) -> None:
    event = next(event for event in settled[0].ledger.events() if event.kind == "settle")
    expected = {"outcome", "delivered_score", "findings", "delivered_by", "transfers", "suspended"}
    assert set(event.payload["result"]) == expected


# ------------------------------------------------------------------------------------------------ runs


def test_a_run_with_wrong_arguments_ends_before_a_model_is_loaded(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    image = CHECKED.replace(model=cv.ModelRef("owner/name", revision="0" * 40))
    for call, word in (
        (lambda: cv.run("a red cat", "cpu"), "expected an ImageTask or a TextTask"),  # type: ignore[call-overload]
        (lambda: cv.run(image, "toaster"), "no device"),
        (lambda: cv.run(image, on_step=5), "on_step is 5; expected a function"),  # type: ignore[call-overload]
        (lambda: cv.run(image, on_token=print), "runs never call it"),  # type: ignore[call-overload]
        (lambda: cv.run(TEXT, on_step=print), "runs never call it"),  # type: ignore[call-overload]
        (lambda: cv.Runner("owner/name"), "expected a ModelRef"),  # type: ignore[arg-type]
        (lambda: cv.Runner(image.model, "cpu"), "kind is 'cpu'"),  # type: ignore[arg-type]
        (lambda: cv.Runner(image.model, safety_checker="yes"), "safety_checker is 'yes'"),  # type: ignore[arg-type]
    ):
        with pytest.raises(cv.errors.InvalidInputError, match=word):
            call()
