"""Evidence: what a third person can check of a finding, and what not (protocol L8)."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from crynux_validate import ErrorReport, Finding, ImageScore, SigningKey, verify_evidence
from crynux_validate.cli import main
from crynux_validate.encoding import canonical_json
from crynux_validate.errors import BrokenEvidenceError, InvalidInputError
from crynux_validate.ledger import Evidence
from crynux_validate.machines import Pool
from crynux_validate.testing.conformance.signed import key_of, sign_and_commit
from tests.ledger import backends
from tests.ledger.helpers import (
    BLANK,
    CARD,
    CHEAT,
    CHECKED,
    FALSE_REPORT,
    HONEST,
    HONEST_TEXT,
    MALFORMED,
    OTHER,
    POLICY,
    TOKENS,
    Network,
    TwoRounds,
)

KEYS = {node: key_of(node) for node in ("n0", "n1", "n2")}
HALF = ImageScore(bytes.fromhex("0f0f0f0f0f0f0f0f"), bytes(32))
"""At distance 32 from an honest answer."""


def evidence_of(network: Network, node: str, group: str = "group-1") -> Evidence:
    """Evidence as somebody else has it: read from its JSON."""
    found = network.ledger.evidence(group, node)
    again = Evidence.from_json(found.to_json())
    assert again == found
    assert backends.current.again(network.ledger).evidence(group, node) == found
    return again


def signed_network() -> Network:
    """Three nodes with keys."""
    network = Network(nodes=0)
    for at, (node, key) in enumerate(KEYS.items()):
        network.ledger.deposit(f"o{at}", 5_000)
        network.ledger.join(node, owner=f"o{at}", gpu=CARD, stake=1_000, public_key=key.public_key)
    return network


def signed_cheat() -> tuple[Network, str]:
    """A settled group whose members have keys; the last withheld."""
    network = signed_network()
    group = network.drawn()
    for node in group.members:
        sign_and_commit(network, group, node, KEYS[node])
    for node in group.members[:2]:
        network.reveal(group.id, node)
    network.clock.now = group.reveal_deadline
    network.ledger.settle(group.id)
    return network, group.members[2]


def test_a_wrong_answer_can_be_shown_to_anybody() -> None:
    network = Network()
    group = network.answered(HONEST, HONEST, CHEAT)
    *honest, cheat = group.members
    checked = verify_evidence(evidence_of(network, cheat))
    assert checked.finding is Finding.INVALID
    text = str(checked)
    assert f"node {cheat} is INVALID in group-1 of ledger test" in text
    assert "draws " + ", ".join(group.members) in text
    assert "distance 64" in text
    assert f"the ledger's word that {', '.join(group.members)} made these commitments, which are not signed" in text
    assert f"1000 was taken from the stake of {cheat}" in text
    assert "the beacon's value" in text
    for node in honest:
        assert verify_evidence(evidence_of(network, node)).finding is Finding.VALID


def test_evidence_of_a_blank_picture_says_by_which_rule_it_was_judged() -> None:
    network = Network()
    group = network.answered(HONEST, HONEST, BLANK, task=CHECKED)
    evidence = evidence_of(network, group.members[2])
    checked = verify_evidence(evidence)
    assert checked.finding is Finding.BORDERLINE
    assert "the task has a safety checker: no slash for a blank picture" in str(checked)
    # Whoever kept the ledger cannot pretend that the task had none: the commitments are to answers of this task.
    pretended = json.loads(evidence.to_json())
    pretended["group"]["task"]["safety_checker"] = False
    with pytest.raises(BrokenEvidenceError, match="does not fit its commitment"):
        verify_evidence(Evidence.from_json(canonical_json(pretended)))


@pytest.mark.parametrize("answer", [MALFORMED, FALSE_REPORT])
def test_every_kind_of_wrong_answer(answer: Any) -> None:
    network = Network()
    group = network.answered(HONEST, HONEST, answer)
    assert verify_evidence(evidence_of(network, group.members[2])).finding is Finding.INVALID


def test_signatures_need_no_belief_in_the_ledger() -> None:
    network, silent = signed_cheat()
    evidence = evidence_of(network, silent)
    checked = verify_evidence(evidence)
    assert checked.finding is Finding.WITHHELD
    assert any(KEYS[silent].public_key.hex() in line for line in checked.rests_on)
    assert any("no opening of" in line and silent in line for line in checked.rests_on)
    keys = {node: key.public_key for node, key in KEYS.items()}
    known = verify_evidence(evidence, keys)
    assert not any("keys" in line for line in known.rests_on)
    assert f"{silent} signed its commitments with the key that you know" in known.shown
    with pytest.raises(BrokenEvidenceError, match="the known one is"):
        verify_evidence(evidence, {silent: SigningKey(bytes(32)).public_key})


def test_a_known_key_must_have_signed() -> None:
    network = Network()
    group = network.answered(HONEST, HONEST, CHEAT)
    cheat = group.members[2]
    with pytest.raises(BrokenEvidenceError, match=f"the commitment of {cheat} is not signed"):
        verify_evidence(evidence_of(network, cheat), {cheat: bytes(32)})


@pytest.mark.parametrize("keys", [[], "n0", {"n0": "ab" * 32}, {"n0": bytes(31)}, {"n9": None}, {5: bytes(32)}])
def test_keys_are_bytes_by_ids(keys: Any) -> None:
    network, silent = signed_cheat()
    with pytest.raises(InvalidInputError, match="key"):
        verify_evidence(evidence_of(network, silent), keys)


def test_both_rounds_are_checked() -> None:
    network = TwoRounds()
    settled = network.second(network.first(HONEST_TEXT, HONEST_TEXT, HONEST_TEXT), TOKENS, TOKENS, OTHER)
    evidence = evidence_of(network, settled.members[2])
    assert verify_evidence(evidence).finding is Finding.INVALID
    assert "6 openings" in str(verify_evidence(evidence))

    def swap(group: dict[str, Any]) -> None:
        openings = group["rounds"][1]["openings"]
        first, _, third = settled.members
        openings[first], openings[third] = openings[third], openings[first]

    with pytest.raises(BrokenEvidenceError, match="in round 2 does not fit its commitment"):
        verify_evidence(edited(evidence, swap))


def edited(evidence: Evidence, edit: Callable[[dict[str, Any]], None]) -> Evidence:
    value = json.loads(evidence.to_json())
    edit(value["group"])
    return Evidence.from_json(canonical_json(value))


def forget_an_opening(group: dict[str, Any]) -> None:
    del group["rounds"][0]["openings"][group["members"][2]]


def exchange_answers(group: dict[str, Any]) -> None:
    openings = group["rounds"][0]["openings"]
    first, _, third = group["members"]
    openings[first], openings[third] = openings[third], openings[first]


def accuse_another(group: dict[str, Any]) -> None:
    findings = dict(group["verdict"]["findings"])
    first, _, third = group["members"]
    findings[first], findings[third] = findings[third], findings[first]
    group["verdict"]["findings"] = list(map(list, findings.items()))


def reorder(group: dict[str, Any]) -> None:
    group["members"].reverse()


def choose_a_judge(group: dict[str, Any]) -> None:
    group["members"][0] = next(node for node in group["pool"]["ids"] if node not in group["members"])


def take_another_beacon(group: dict[str, Any]) -> None:
    group["beacon"] = "00" * 32


def change_a_weight(group: dict[str, Any]) -> None:
    group["pool"]["weights"] = [weight * 7**at for at, weight in enumerate(group["pool"]["weights"])]


def change_the_rule(group: dict[str, Any]) -> None:
    group["policy"]["slash_threshold"] = group["policy"]["threshold"] = 64


def change_the_commitment(group: dict[str, Any]) -> None:
    group["rounds"][0]["commitments"][group["members"][0]] = "00" * 32


def add_a_stranger(group: dict[str, Any]) -> None:
    group["rounds"][0]["commitments"]["stranger"] = "00" * 32


def deliver_another(group: dict[str, Any]) -> None:
    group["delivered_by"] = group["members"][2]


@pytest.mark.parametrize(
    ("edit", "match"),
    [
        (forget_an_opening, "judging the answers again"),
        (exchange_answers, "does not fit its commitment"),
        (accuse_another, "judging the answers again"),
        (reorder, "draws other members than it has"),
        (choose_a_judge, "draws other members than it has"),
        (take_another_beacon, "draws other members than it has"),
        (change_a_weight, "draws other members than it has"),
        (change_the_rule, "does not fit its commitment"),
        (change_the_commitment, "does not fit its commitment"),
        (add_a_stranger, "stranger answered"),
        (deliver_another, "J6"),
    ],
)
def test_edited_evidence_is_found(edit: Callable[[dict[str, Any]], None], match: str) -> None:
    network = Network()
    group = network.answered(HONEST, HONEST, HALF)
    evidence = evidence_of(network, group.members[2])
    with pytest.raises(BrokenEvidenceError, match=match):
        verify_evidence(edited(evidence, edit))


def second_of_two() -> tuple[Network, Evidence]:
    """Evidence of a group whose draw hit candidates that the group before it had taken."""
    network = Network(nodes=9, policy=replace(POLICY, min_pool_ppm=300_000, slash_per_fee=20))
    first, second = network.opened(), network.opened()
    network.clock.advance(1)
    group = network.ledger.draw(second.id)
    assert group.draw is not None
    assert set(group.draw.unavailable.values()) == {first.id}
    assert group.draw.unavailable_weight == 3_000
    for node, answer in zip(group.members, (HONEST, HONEST, CHEAT), strict=True):
        network.commit(group.id, node, answer)
    for node in group.members:
        network.reveal(group.id, node)
    network.ledger.settle(group.id)
    return network, evidence_of(network, group.members[2], group.id)


def slash(**change: Any) -> Callable[[dict[str, Any]], None]:
    """Say something else of the slash, which is the last transfer."""

    def edit(group: dict[str, Any]) -> None:
        for at, name in enumerate(("source", "target", "amount")):
            group["transfers"][-1][at] = change.get(name, group["transfers"][-1][at])

    return edit


def slash_twice(group: dict[str, Any]) -> None:
    group["transfers"].append(group["transfers"][-1])


def slash_another(group: dict[str, Any]) -> None:
    group["transfers"][-1][0] = group["members"][0]


def pay_somebody(group: dict[str, Any]) -> None:
    group["transfers"][0][1] = "thief"


def pay_nobody(group: dict[str, Any]) -> None:
    del group["transfers"][0]


def take_for_another_reason(group: dict[str, Any]) -> None:
    group["transfers"].append([group["members"][0], "thief", "1000", "penalty"])


def ask_too_little(group: dict[str, Any]) -> None:
    group["fee"] = "2"


def judge_oneself(group: dict[str, Any]) -> None:
    group["creator"] = group["pool"]["owners"][0]


def name_a_class(group: dict[str, Any]) -> None:
    group["gpu_class"] = {"gpu": CARD.to_dict(), "kernel": "00" * 32, "numerics": "00" * 32, "canary": "00" * 32}


@pytest.mark.parametrize(
    ("edit", "match"),
    [
        (slash_twice, r"660 was taken .* more than its policy allows"),
        (slash(amount="661"), r"661 was taken .* is INVALID .* more than its policy allows"),
        (slash(amount="0"), r"^0 was taken"),
        (slash(source="stranger"), r"660 was taken .* is no member"),
        (slash(target="thief"), r"660 was taken .* for another account"),
        (slash_another, r"660 was taken .* is VALID"),
        (pay_somebody, r"the payments of group-2 .* \(L3\)"),
        (pay_nobody, r"the payments of group-2"),
        (take_for_another_reason, r"the payments of group-2"),
        (ask_too_little, r"the fee of group-2 is 2; .* needs at least 3 \(L3\)"),
        (judge_oneself, r"a node of its creator .* \(P5\)"),
        (name_a_class, r"group-2 must have a class if, and only if"),
    ],
)
def test_money_that_moved_otherwise_and_groups_that_no_ledger_opens(
    edit: Callable[[dict[str, Any]], None], match: str
) -> None:
    """Only the amount of a slash is the ledger's word, up to its bound: here 20 shares of 33, of a stake of 1,000."""
    _, evidence = second_of_two()
    verify_evidence(evidence)
    verify_evidence(edited(evidence, slash(amount="1")))
    with pytest.raises(BrokenEvidenceError, match=match):
        verify_evidence(edited(evidence, edit))


def test_evidence_says_what_the_draw_rests_on() -> None:
    _, evidence = second_of_two()
    checked = verify_evidence(evidence)
    assert checked.finding is Finding.INVALID
    draw = evidence.group.draw
    assert draw is not None
    hit = "".join(f"; among them {node}, taken by group-1" for node in draw.unavailable)
    assert any(
        f"candidates with 33.3% of the pool's weight had been taken by groups that were drawn before{hit}" in line
        for line in checked.rests_on
    )
    assert any("with 100.0% of the weight of all that could serve" in line for line in checked.rests_on)


def one_less(group: dict[str, Any]) -> None:
    del group["unavailable"][min(group["unavailable"])]


def one_more(group: dict[str, Any]) -> None:
    free = set(group["pool"]["ids"]) - set(group["members"]) - set(group["unavailable"])
    group["unavailable"][min(free)] = "group-1"


def one_more_with_its_weight(group: dict[str, Any]) -> None:
    one_more(group)
    group["unavailable_weight"] = "4000"


def a_member(group: dict[str, Any]) -> None:
    group["unavailable"][group["members"][2]] = "group-1"


def taken_by_itself(group: dict[str, Any]) -> None:
    group["unavailable"][min(group["unavailable"])] = group["id"]


def lighter_than_its_hits(group: dict[str, Any]) -> None:
    group["unavailable_weight"] = str(1_000 * len(group["unavailable"]) - 1)


def as_heavy_as_the_pool(group: dict[str, Any]) -> None:
    group["unavailable_weight"] = "9000"


def a_share_too_small_at_the_draw(group: dict[str, Any]) -> None:
    group["unavailable_weight"] = "6301"


def a_share_too_small_of_the_base(group: dict[str, Any]) -> None:
    group["base"] = "20001"


def a_base_below_the_pool(group: dict[str, Any]) -> None:
    group["base"] = "8999"


def another_task(group: dict[str, Any]) -> None:
    group["task"]["seed"] += 1


def another_prompt(group: dict[str, Any]) -> None:
    group["task"]["prompt"] = "a blue cat"


def another_policy(group: dict[str, Any]) -> None:
    group["policy"]["slash_per_fee"] = 999


def other_deadlines(group: dict[str, Any]) -> None:
    group["policy"]["commit_seconds"] += 1


def another_fee(group: dict[str, Any]) -> None:
    group["fee"] = "101"


def another_round(group: dict[str, Any]) -> None:
    group["beacon_round"] += 1


def another_group(group: dict[str, Any]) -> None:
    group["id"] = "group-3"


NOT_DRAWN = "draws other members than it has"
TOO_SMALL = "drawn from a part of its base that is too small"
NOT_BOUND = "the opening of .* in round 1 does not fit its commitment"


@pytest.mark.parametrize(
    ("edit", "match"),
    [
        (one_less, NOT_DRAWN),
        (one_more, NOT_DRAWN),
        (one_more_with_its_weight, NOT_DRAWN),
        (a_member, NOT_DRAWN),
        (taken_by_itself, NOT_DRAWN),
        (lighter_than_its_hits, NOT_DRAWN),
        (as_heavy_as_the_pool, NOT_DRAWN),
        (a_share_too_small_at_the_draw, TOO_SMALL),
        (a_share_too_small_of_the_base, TOO_SMALL),
        (a_base_below_the_pool, TOO_SMALL),
        (another_task, NOT_BOUND),
        (another_prompt, NOT_BOUND),
        (another_policy, NOT_BOUND),
        (other_deadlines, NOT_BOUND),
        (another_fee, NOT_BOUND),
        (another_round, NOT_BOUND),
        (another_group, NOT_DRAWN),
    ],
)
def test_another_draw_or_another_thing_than_commitments_bind_is_refused(
    edit: Callable[[dict[str, Any]], None], match: str
) -> None:
    _, evidence = second_of_two()
    with pytest.raises(BrokenEvidenceError, match=match):
        verify_evidence(edited(evidence, edit))


def test_the_share_of_the_base_is_exact() -> None:
    """Free are 6,000, of which 300,000 millionths ask a base of at most 20,000; and 2,700 of a base of 9,000."""
    _, evidence = second_of_two()
    for change in ({"base": "20000"}, {"unavailable_weight": "6300"}):
        verify_evidence(edited(evidence, lambda group, change=change: group.update(change)))  # type: ignore[misc]


def test_the_name_of_the_ledger_is_bound() -> None:
    _, evidence = second_of_two()
    with pytest.raises(BrokenEvidenceError, match=NOT_DRAWN):
        verify_evidence(Evidence.from_json(evidence.to_json().replace('"ledger":"test"', '"ledger":"other"')))


def test_a_draw_of_another_group_is_no_draw_of_this_one() -> None:
    """Evidence need not come from JSON: a ledger elsewhere hands out groups, too."""
    _, evidence = second_of_two()
    group = evidence.group
    others = (
        Evidence("another", evidence.node, group),
        *(
            replace(evidence, group=replace(group, **change))
            for change in (
                {"id": "group-1"},
                {"fee": 101},
                {"beacon_round": 5},
                {"pool": Pool(list(group.pool)[1:])},
                {"pool": Pool([replace(candidate, weight=7) for candidate in group.pool])},
            )
        ),
    )
    for other in others:
        with pytest.raises(BrokenEvidenceError, match="the draw is of group-2 of ledger test"):
            verify_evidence(other)
    verify_evidence(replace(evidence, group=replace(group, pool=Pool(list(group.pool)))))


@pytest.mark.parametrize("edit", [another_task, another_policy, another_fee, another_round])
def test_a_signature_binds_the_draw_where_nothing_was_opened(edit: Callable[[dict[str, Any]], None]) -> None:
    network = signed_network()
    group = network.drawn()
    for node in group.members:
        sign_and_commit(network, group, node, KEYS[node])
    network.clock.now = group.reveal_deadline
    network.ledger.settle(group.id)
    evidence = evidence_of(network, group.members[0])
    assert verify_evidence(evidence).finding is Finding.WITHHELD
    with pytest.raises(BrokenEvidenceError, match=r"the signature of .* in round 1 is not valid for its commitment"):
        verify_evidence(edited(evidence, edit))


def test_a_signature_of_another_round_is_found() -> None:
    network = TwoRounds()
    settled = network.second(network.first(HONEST_TEXT, HONEST_TEXT, HONEST_TEXT), TOKENS, TOKENS, TOKENS)
    evidence = evidence_of(network, settled.members[0])
    node, key = settled.members[0], SigningKey(bytes(32))
    assert settled.draw is not None
    first, second = (one.commitments[node] for one in settled.rounds)
    seed = settled.second_seed(0)
    signed = {1: key.sign(first, settled.draw, node=node), 2: key.sign(second, settled.draw, node=node, seed=seed)}

    def with_signatures(in_first: bytes, in_second: bytes) -> Evidence:
        def edit(group: dict[str, Any]) -> None:
            for one, made in zip(group["rounds"], (in_first, in_second), strict=True):
                one["signatures"][node] = [key.public_key.hex(), made.hex()]

        return edited(evidence, edit)

    verify_evidence(with_signatures(signed[1], signed[2]), {node: key.public_key})
    for in_first, in_second, number in (
        (key.sign(first, settled.draw, node=node, seed=seed), signed[2], 1),
        (signed[1], key.sign(second, settled.draw, node=node), 2),
        (signed[1], key.sign(second, settled.draw, node=node, seed=bytes(32)), 2),
        (signed[2], signed[1], 1),
    ):
        with pytest.raises(BrokenEvidenceError, match=f"the signature of {node} in round {number}"):
            verify_evidence(with_signatures(in_first, in_second))


def test_an_edited_signature_is_found() -> None:
    network, silent = signed_cheat()

    def swap(group: dict[str, Any]) -> None:
        signatures = group["rounds"][0]["signatures"]
        first = group["members"][0]
        signatures[silent][1] = signatures[first][1]

    with pytest.raises(BrokenEvidenceError, match=f"the signature of {silent} in round 1"):
        verify_evidence(edited(evidence_of(network, silent), swap))


def test_what_is_no_evidence() -> None:
    network = Network()
    good = network.answered(HONEST, HONEST, CHEAT)
    text = network.ledger.evidence("group-1", good.members[2]).to_json()
    value = json.loads(text)
    for bad, match in (
        ("", "not JSON"),
        ("[]", "the schema"),
        (json.dumps({**value, "schema": "x"}), "the schema 'x'; expected 'crynux-validate/evidence/2'"),
        (json.dumps({**value, "more": 1}), "the fields"),
        (json.dumps({**value, "node": "x"}), "not a member"),
        (json.dumps({**value, "group": {}}), "cannot be read: it has no 'pool'"),
        (json.dumps({**value, "group": {**value["group"], "fee": []}}), "cannot be read"),
        (json.dumps({**value, "group": {**value["group"], "verdict": None}}), "expected a settled group"),
        (json.dumps({**value, "group": {**value["group"], "task": {}}}), "cannot be read: schema"),
    ):
        with pytest.raises(InvalidInputError, match=match):
            Evidence.from_json(bad)


def test_the_command_shows_a_strangers_words_in_ascii(tmp_path: Any, capsys: pytest.CaptureFixture[str]) -> None:
    network = Network()
    words = "\x1b[31mred \u202e \u0430dmin"
    group = network.answered(HONEST, HONEST, ErrorReport("failed", words))
    file = tmp_path / "evidence.json"
    file.write_text(network.ledger.evidence("group-1", group.members[2]).to_json())
    assert main(["evidence", str(file)]) == 0
    shown = capsys.readouterr().out
    assert shown.isascii()
    assert r"failed: \x1b[31mred \u202e \u0430dmin" in shown


def test_the_command(tmp_path: Any, backend: backends.Backend, capsys: pytest.CaptureFixture[str]) -> None:
    network = Network()
    group = network.answered(HONEST, HONEST, CHEAT)
    cheat = group.members[2]
    file = tmp_path / "evidence.json"
    if backend.name == "memory":
        file.write_text(network.ledger.evidence("group-1", cheat).to_json())
    else:
        url = backend.url_of(network.ledger)
        assert main(["ledger", "evidence", url, "group-1", cheat, "--out", str(file)]) == 0
        assert f"{cheat} is INVALID in group-1" in capsys.readouterr().out
        assert main(["ledger", "evidence", url, "group-1", cheat]) == 0
        assert capsys.readouterr().out == file.read_text()
        assert main(["ledger", "evidence", url, "group-1", cheat, "--out", str(tmp_path / "no" / "file")]) == 2
        assert "cannot write" in capsys.readouterr().err
    assert main(["evidence", str(file)]) == 0
    shown = capsys.readouterr().out
    for expected in (
        f"{cheat}  INVALID     distance 64",
        "a red cat",
        "shown by the evidence itself",
        "not shown by the evidence",
    ):
        assert expected in shown
    assert main(["evidence", "--json", str(file)]) == 0
    value = json.loads(capsys.readouterr().out)
    assert (value["holds"], value["finding"], value["node"]) == (True, "INVALID", cheat)
    assert main(["evidence", str(file), "--key", f"{cheat}={'00' * 32}"]) == 1
    assert f"does not hold: the commitment of {cheat} is not signed" in capsys.readouterr().out
    assert main(["evidence", "--json", str(file), "--key", f"{cheat}={'00' * 32}"]) == 1
    assert json.loads(capsys.readouterr().out)["holds"] is False
    for arguments, match in (
        (["--key", "x"], "expected NODE=HEX"),
        (["--key", "x=12"], "the key of x has 2 characters"),
        (["--key", f"x={'00' * 32}"], "--key names 'x', which is no member of group-1"),
        (["--key", f"{cheat}={'00' * 32}", "--key", f"{cheat}={'11' * 32}"], f"--key gives {cheat} two keys"),
    ):
        assert main(["evidence", str(file), *arguments]) == 2
        assert match in capsys.readouterr().err
    assert main(["evidence", str(tmp_path / "nothing")]) == 2
    assert "cannot read the evidence" in capsys.readouterr().err
