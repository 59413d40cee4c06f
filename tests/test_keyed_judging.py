"""What two rounds of answers become together, who fits a picture to a seed, and tolerances (protocol C5, J7)."""

import itertools
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from PIL import Image

from crynux_validate import CentreRule, Finding, ImageScore, Opening, Policy, judge
from crynux_validate.errors import InvalidAnswerError, InvalidInputError
from crynux_validate.hashing.bands import BANDS, LEAST_CONTRAST, SIZE, STEPS, VALUES, Key
from crynux_validate.judging import Absent, CrynuxRelayRule, TwoAnswers
from crynux_validate.keyed import FAR, KeyedScore, KeyedTolerance, keyed_agree, keyed_far
from crynux_validate.testing.conformance.network import NEAR
from tests.ledger.helpers import HONEST, POLICY
from tests.ledger.keyed_pictures import KEYED, LIMITS, PICTURE, SIDE, TOLERANCE, Picture, honest_picture

SCORES: Final = {
    "agrees": HONEST,
    "between": NEAR,
    "far": ImageScore(bytes.fromhex("0f0f0f0ff0f0f0f0"), bytes(32)),
}
FLAT: Final = bytes([LEAST_CONTRAST]).ljust(SIZE, b"\0")
BASE: Final = KeyedScore(FLAT * len(LIMITS), "keyed/1")


def values(squares: int, band: int = 3) -> KeyedScore:
    """Values that are this squared distance from `BASE` in one band."""
    rest, own = squares, []
    for _ in range(VALUES):
        step = min(int(rest**0.5), 127)
        own.append(step)
        rest -= step * step
    assert rest == 0
    data = bytearray(BASE.score)
    data[band * SIZE + 1 : (band + 1) * SIZE] = bytes(own)
    return KeyedScore(bytes(data), "keyed/1")


SECONDS: Final = {
    "agrees": values(LIMITS[3]),
    "between": values(LIMITS[3] + 1),
    "at the edge": values(FAR * LIMITS[3]),
    "far": values(FAR * LIMITS[3] + 1),
}
TABLE: Final = {
    ("agrees", "agrees"): Finding.VALID,
    ("agrees", "between"): Finding.BORDERLINE,
    ("agrees", "at the edge"): Finding.BORDERLINE,
    ("agrees", "far"): Finding.INVALID,
    ("between", "agrees"): Finding.BORDERLINE,
    ("between", "between"): Finding.BORDERLINE,
    ("between", "at the edge"): Finding.BORDERLINE,
    ("between", "far"): Finding.INVALID,
    ("far", "agrees"): Finding.INVALID,
    ("far", "between"): Finding.INVALID,
    ("far", "at the edge"): Finding.INVALID,
    ("far", "far"): Finding.INVALID,
}
"""The table of rule J7: a member beside two that agree."""

RULE: Final = CentreRule(safety_checker=False, keyed_limits=LIMITS)


def judged(*members: Any, rule: CentreRule = RULE) -> list[Finding]:
    """The findings, which must be the same in every order."""
    named = {f"n{at}": member for at, member in enumerate(members)}
    verdicts = [judge(dict(order), rule) for order in itertools.permutations(named.items())]
    assert len({tuple(sorted(verdict.findings.items())) for verdict in verdicts}) == 1
    assert len({str(verdict.delivered_score) for verdict in verdicts}) == 1
    return [verdicts[0].findings[node] for node in named]


@pytest.mark.parametrize(("first", "second"), TABLE)
def test_the_table(first: str, second: str) -> None:
    honest = TwoAnswers(HONEST, BASE)
    third = TwoAnswers(SCORES[first], SECONDS[second])
    assert judged(honest, honest, third) == [Finding.VALID, Finding.VALID, TABLE[first, second]]


def test_the_table_is_the_protocols() -> None:
    text = (Path(__file__).parents[1] / "docs" / "protocol.md").read_text("utf-8")
    rows = [
        [cell.strip(" `") for cell in line.strip(" |").split("|")] for line in text.splitlines() if "| first: " in line
    ]
    written = {
        (row[0].removeprefix("first: "), name): row[at]
        for row in rows
        for at, name in ((1, "agrees"), (2, "between"), (3, "far"))
    }
    assert written == {
        (first, second): str(finding) for (first, second), finding in TABLE.items() if second != "at the edge"
    }


def test_a_chain_keeps_from_a_slash_only_where_both_rounds_agree() -> None:
    """Each step is 18 in one value: the neighbours agree, and three steps are far apart."""
    honest = TwoAnswers(HONEST, BASE)
    steps = [KeyedScore(BASE.score[:1] + bytes([18 * at]) + BASE.score[2:], "keyed/1") for at in (1, 2, 3)]
    rule = replace(RULE, keyed_limits=(18**2,) * 6)

    def last(score: ImageScore) -> Finding:
        members = [honest] * 4 + [
            TwoAnswers(HONEST, steps[0]),
            TwoAnswers(HONEST, steps[1]),
            TwoAnswers(score, steps[2]),
        ]
        findings = judge({f"n{at}": member for at, member in enumerate(members)}, rule).findings
        assert [findings[f"n{at}"] for at in range(6)] == [Finding.VALID] * 6
        return findings["n6"]

    assert last(HONEST) is Finding.BORDERLINE
    assert last(SCORES["far"]) is Finding.INVALID, "the first round does not agree"


def test_without_a_quorum_in_both_rounds_nobody_is_slashed() -> None:
    members = [TwoAnswers(HONEST, BASE), TwoAnswers(HONEST, values(900)), TwoAnswers(SCORES["far"], BASE)]
    assert judged(*members) == [Finding.UNDECIDED] * 3


def test_a_plain_picture_is_told_from_others_in_the_second_round() -> None:
    """Its hash says nothing, its values do; not where a safety checker may have blanked one of two pictures."""
    plain = ImageScore(bytes(8), bytes(32))
    honest, cheat = TwoAnswers(plain, BASE), TwoAnswers(HONEST, SECONDS["far"])
    assert judged(honest, honest, cheat)[2] is Finding.INVALID
    assert judged(honest, honest, TwoAnswers(HONEST, BASE))[2] is Finding.BORDERLINE
    checked = replace(RULE, safety_checker=True)
    assert judged(honest, honest, cheat, rule=checked)[2] is Finding.BORDERLINE
    assert judged(TwoAnswers(HONEST, BASE), TwoAnswers(HONEST, BASE), TwoAnswers(plain, SECONDS["far"]), rule=checked)[
        2
    ] is (Finding.BORDERLINE)


def test_each_band_of_each_image_counts() -> None:
    for image, band in itertools.product(range(2), range(len(LIMITS))):
        data = bytearray(2 * BASE.score)
        at = image * len(BASE.score) + band * SIZE
        limit = LIMITS[band]
        for over, agrees in ((0, True), (1, False)):
            squares = limit + over
            data[at : at + SIZE] = values(squares).score[3 * SIZE : 4 * SIZE]
            one, other = KeyedScore(2 * BASE.score, "keyed/1"), KeyedScore(bytes(data), "keyed/1")
            assert keyed_agree(one, other, LIMITS) is keyed_agree(other, one, LIMITS) is agrees
        data[at : at + SIZE] = values(FAR * limit + 1).score[3 * SIZE : 4 * SIZE]
        far = KeyedScore(bytes(data), "keyed/1")
        assert keyed_far(one, far, LIMITS)
        assert not keyed_far(one, far, LIMITS, without={image})


def fitted_to(target: bytes, seed: bytes) -> Picture:
    """A grey picture whose values of brightness are these: another one, moved as little as it takes."""
    key, start = Key(seed), np.asarray(Image.fromarray(honest_picture(7)).convert("L"))
    luma = [at for at, band in enumerate(BANDS[: len(LIMITS)]) if not band.colour]
    wanted = []
    for at in luma:
        one, other = (values[at * SIZE : (at + 1) * SIZE] for values in (target, key.values(start)))
        sums = [np.frombuffer(values[1:], np.int8) * float(values[0]) / STEPS for values in (one, other)]
        wanted.append(sums[0] - sums[1])
    rows = []
    for band in (BANDS[at] for at in luma):
        into, signs = key.words(band)
        matrix = np.zeros((VALUES, band.places))
        matrix[into, np.arange(band.places)] = signs
        cell = SIDE // band.side
        spread = np.kron(np.eye(band.side), np.full((1, cell), 1 / cell))
        whole: Any = np.kron(spread, spread)
        if not band.base:
            halved = np.kron(np.eye(band.side // 2), np.full((2, 2), 0.5)) @ spread
            whole = whole - np.kron(halved, halved)
        rows.append(matrix @ whole / np.sqrt(band.places / VALUES))
    change = np.linalg.lstsq(np.concatenate(rows), np.concatenate(wanted))[0]
    found: Picture = np.clip(np.rint(start + change.reshape(SIDE, SIDE)), 0, 255).astype(np.uint8)
    return found


def test_who_knows_seed_and_values_before_binding_passes_and_under_another_seed_does_not() -> None:
    """So the seed must be of nonces that were bound, and values hidden until all have committed to theirs."""
    grey = np.asarray(Image.fromarray(PICTURE).convert("L"))
    early, real = bytes([1]) * 32, bytes([2]) * 32
    fitted = fitted_to(KeyedScore.from_images(early, [grey]).score, early)
    assert np.abs(fitted.astype(int) - grey).mean() > 20, "it is another picture"
    both: Mapping[bytes, list[KeyedScore]] = {
        seed: [KeyedScore.from_images(seed, [one]) for one in (grey, fitted)] for seed in (early, real)
    }
    wide = (1_000,) * len(LIMITS)  # a seventh of the contrast: less than machines in bfloat16 are allowed
    assert keyed_agree(both[early][0], both[early][1], wide)
    assert keyed_far(both[real][0], both[real][1], wide)


def test_policies() -> None:
    assert Policy.from_dict(json.loads(json.dumps(KEYED.to_dict()))) == KEYED
    assert "keyed_tolerances" not in POLICY.to_dict()
    assert KEYED.digest != replace(KEYED, keyed_tolerances=(replace(TOLERANCE, limits=(1, *LIMITS[1:])),)).digest
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"second_algorithm": "keyed/1"}, "keyed/1 and there are 0 keyed_tolerances"),
        ({"keyed_tolerances": (TOLERANCE,)}, "None and there are 1 keyed_tolerances"),
        ({"second_algorithm": "digest/1", "keyed_tolerances": (TOLERANCE,)}, "digest/1 and there are 1"),
        (
            {"second_algorithm": "keyed/1", "keyed_tolerances": (TOLERANCE, TOLERANCE)},
            "has two for tasks of owner/name",
        ),
        ({"second_algorithm": "keyed/1", "keyed_tolerances": LIMITS}, "expected a tuple of KeyedTolerance"),
    ]
    for fields, match in wrong:
        with pytest.raises(InvalidInputError, match=match):
            replace(POLICY, **fields)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (
            {"algorithm": "digest/1"},
            "'digest/1', which has none; expected a calibration of keyed/1",
        ),
        ({"setting": None}, "the setting is None; expected the fields"),
        ({"setting": {}}, r"steps of a setting is None; expected \[least, most\]"),
        ({"setting": {**TOLERANCE.setting.to_dict(), "dtype": "float64"}}, "dtype: is 'float64'"),
        ({"limits": ()}, "expected 1 to 8 integers"),
        ({"limits": (1,) * 9}, "expected 1 to 8 integers"),
        ({"limits": (1, -1)}, "limit of the band luma-16 is -1"),
        ({"limits": (1, 28_831)}, "expected an integer from 0 to 28830"),
        ({"limits": (True,)}, "limit of the band luma-8 is True"),
    ],
)
def test_tolerances(change: dict[str, Any], match: str) -> None:
    with pytest.raises(InvalidInputError, match=match):
        KeyedTolerance.from_dict({**TOLERANCE.to_dict(), **change})


def test_tolerances_with_another_field() -> None:
    for value in (None, {}, {**TOLERANCE.to_dict(), "more": 1}):
        with pytest.raises(InvalidInputError, match="expected algorithm, limits, setting"):
            KeyedTolerance.from_dict(value)


def test_judging_refuses_what_it_cannot_compare() -> None:
    two = TwoAnswers(HONEST, BASE)
    members = {"a": two, "b": two, "c": two}
    with pytest.raises(InvalidInputError, match="the limits are None"):
        judge(members, CentreRule())
    with pytest.raises(InvalidInputError, match="c has one answer and a has two"):
        judge({**members, "c": HONEST}, RULE)
    with pytest.raises(InvalidInputError, match="6 bands, not a multiple of the 4 limits"):
        judge(members, CentreRule(keyed_limits=LIMITS[:4]))
    with pytest.raises(InvalidInputError, match="has no second round"):
        judge(members, CrynuxRelayRule(seconds=dict.fromkeys(members, 1.0)))
    kept = judge({**members, "c": Absent()}, RULE).findings
    assert kept == {"a": Finding.VALID, "b": Finding.VALID, "c": Finding.ABSENT}


def test_scores() -> None:
    seed = bytes(32)
    small = PICTURE[:32]
    with pytest.raises(InvalidAnswerError, match="as many bands each; bands found: 6, 4"):
        KeyedScore.from_images(seed, [PICTURE, small])
    with pytest.raises(InvalidAnswerError, match="bands found: none"):
        KeyedScore.from_images(seed, [])
    with pytest.raises(InvalidInputError, match="expected a list of pictures"):
        KeyedScore.from_images(seed, "file.png")
    for length in (0, 30, 32, (16 * 8 + 1) * SIZE):
        with pytest.raises(InvalidAnswerError, match="keyed/1 has 31 bytes for each band of each image"):
            KeyedScore(bytes(length), "keyed/1")
    with pytest.raises(InvalidAnswerError, match=r"a contrast of 0 grey levels, below 4; KeyedScore\.from_images"):
        KeyedScore(bytes(SIZE), "keyed/1")
    with pytest.raises(InvalidAnswerError, match="the value -128"):
        KeyedScore(FLAT[:-1] + b"\x80", "keyed/1")
    for score in (KeyedScore(16 * 8 * FLAT, "keyed/1"), KeyedScore(FLAT, "keyed/1"), KeyedScore(bytes(32))):
        assert KeyedScore.from_bytes(score.to_bytes()) == KeyedScore.from_hex(score.hex, score.algorithm) == score
        assert Opening.from_bytes(Opening(score.to_bytes()).to_bytes()).answer_bytes == score.to_bytes()
    assert not keyed_agree(BASE, KeyedScore(bytes(32)), LIMITS)
    assert keyed_far(BASE, KeyedScore(FLAT, "keyed/1"), LIMITS)
