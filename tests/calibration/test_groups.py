"""Rates per group are those of `judge`, group by group."""

import numpy as np
import pytest

import crynux_validate as cv
from crynux_validate.calibration.groups import Drawn, cheat_groups, honest_groups, judged, unrelated_groups
from crynux_validate.calibration.rates import reps_of, slash_place
from crynux_validate.calibration.table import Table, classes_of, pictures_of
from tests.calibration.worlds import world

THRESHOLDS = (1, 4, 9, 16, 17, 24, 30, 64)


def table_of(samples: cv.calibration.Samples) -> Table:
    honest = samples.having("honest")
    return Table.of(honest, classes_of(honest, ()))


def drawn_groups(samples: cv.calibration.Samples, size: int, rng: np.random.Generator) -> list[tuple[Drawn, bool]]:
    table = table_of(samples)
    cheat, others = samples.having("cheat:half-steps"), samples.having("unrelated")
    task = np.array([table.places[("m", cheat.tasks.names[code])] for code in cheat.tasks.codes])
    found = [(honest_groups(table, size, 40, rng), True)]
    for accomplices in range(1, size // 2 + 1):
        found.append((cheat_groups(table, cheat.hashes, task, accomplices, size, 40, rng), False))
        found.append((unrelated_groups(table, others.hashes, pictures_of(others), accomplices, size, 40, rng), False))
    return found


@pytest.mark.parametrize("size", [3, 5])
@pytest.mark.parametrize("images", [1, 2])
@pytest.mark.parametrize("safety_checker", [True, False])
def test_rates_are_those_of_judge(size: int, images: int, safety_checker: bool) -> None:
    samples = world(size + images, images=images, kinds=5)
    for drawn, honest in drawn_groups(samples, size, np.random.default_rng(1)):
        found = judged(drawn, THRESHOLDS, honest=honest, safety_checker=safety_checker, seed=0)
        for clusterings in found:
            rates = [one.events.sum(axis=0) / one.weights.sum() for one in clusterings.values()]
            for rate in rates[1:]:
                np.testing.assert_allclose(rate, rates[0], err_msg="every clustering counts the same events")
        passing, slash = (one["picture"] for one in found)
        for at, threshold in enumerate(THRESHOLDS):
            for to, slash_threshold in enumerate(THRESHOLDS[at:]):
                rule = cv.CentreRule(threshold, slash_threshold, safety_checker=safety_checker)
                events = [one_by_one(group, drawn.judged, rule, honest=honest) for group in drawn.hashes]
                passed, slashed = np.mean(events, axis=0)
                place = slash_place(len(THRESHOLDS), at, at + to)
                assert passing.events[:, at].sum() / passing.weights.sum() == pytest.approx(passed)
                assert slash.events[:, place].sum() / slash.weights.sum() == pytest.approx(slashed)


def one_by_one(group: np.ndarray, about: int, rule: cv.CentreRule, *, honest: bool) -> tuple[bool, bool]:
    members = {f"node-{at}": cv.ImageScore(member.astype(">u8").tobytes()) for at, member in enumerate(group)}
    findings = list(cv.judge(members, rule).findings.values())[:about]
    valid = [finding is cv.Finding.VALID for finding in findings]
    return (not all(valid)) if honest else valid[0], cv.Finding.INVALID in findings


@pytest.mark.parametrize("size", [3, 5, 7])
def test_members_are_of_one_task_and_of_distinct_kinds(size: int) -> None:
    samples = world(3, kinds=7)
    table = table_of(samples)
    rng = np.random.default_rng(2)
    drawn = honest_groups(table, size, 60, rng)
    for group, picture in zip(drawn.hashes, drawn.clusters["picture"][:, 0], strict=True):
        answers = table.hashes[table.picture == picture].reshape(-1, samples.images).tolist()
        assert all(answer in answers for answer in group.tolist())
    pairs = drawn.clusters["pair of kinds"]
    assert (pairs >= 0).all()
    assert all(len(set(row)) == len(row) for row in pairs.tolist())


def test_every_picture_has_as_many_groups() -> None:
    """A picture that was answered under many names does not count more."""
    samples = world(4, missing=0.3)
    drawn = honest_groups(table_of(samples), 3, 100, np.random.default_rng(3))
    assert len(set(np.unique(drawn.clusters["picture"], return_counts=True)[1])) == 1
    assert drawn.pictures == len(np.unique(drawn.clusters["picture"]))


def test_accomplices_hand_in_the_same_and_are_no_quorum() -> None:
    samples = world(5, kinds=5)
    for drawn, honest in drawn_groups(samples, 5, np.random.default_rng(4))[1:]:
        assert not honest
        same = (drawn.hashes == drawn.hashes[:, :1]).all(axis=2).sum(axis=1)
        assert ((same >= 1) & (drawn.judged == 1)).all()


def test_unrelated_pictures_count_as_the_fewer_side() -> None:
    """Never as pairs: where all honest pictures are alike, an unrelated one agrees with all of them or with none."""
    samples = world(6)
    others = samples.having("unrelated")
    few = unrelated_groups(table_of(samples), others.hashes, pictures_of(others), 1, 3, 24, np.random.default_rng(5))
    assert len(few.hashes) > few.pictures
    assert few.pictures == min(len(np.unique(ids)) for ids in few.clusters.values()) <= 8


def test_thresholds_at_which_something_changes() -> None:
    assert reps_of(even=False) == tuple(range(1, 65))
    assert reps_of(even=True) == tuple(range(1, 65, 2))
    places = [slash_place(5, at, to) for at in range(5) for to in range(at, 5)]
    assert places == list(range(15))
