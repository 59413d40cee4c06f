"""Which steps are drawn, and how many find a cheat."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

import crynux_validate as cv
from crynux_validate.audits.steps import audit_steps, steps_needed
from crynux_validate.errors import InvalidInputError
from tests.audits.making import TASK

ANSWER = cv.ImageScore(bytes(16), bytes(32))


@given(st.binary(min_size=1, max_size=256), st.integers(1, 20))
def test_as_many_steps_as_are_asked_for_none_twice(seed: bytes, count: int) -> None:
    found = audit_steps(seed, TASK, ANSWER, count)
    pairs = [(image, step) for image, steps in found.items() for step in steps]
    assert len(set(pairs)) == len(pairs) == min(count, 12)
    assert pairs == sorted(pairs)
    assert all(0 <= image < 2 and 0 <= step < 6 for image, step in pairs)


def test_every_step_is_drawn_alike() -> None:
    drawn = Counter[tuple[int, int]]()
    for at in range(6_000):
        found = audit_steps(at.to_bytes(4, "big"), TASK, ANSWER, 2)
        drawn.update((image, step) for image, steps in found.items() for step in steps)
    assert len(drawn) == 12
    assert all(abs(times - 1_000) < 150 for times in drawn.values()), "five standard deviations"


def test_another_answer_draws_other_steps() -> None:
    task = TASK.replace(steps=500)
    drawn = [audit_steps(b"one beacon", task, cv.ImageScore(bytes(16), bytes([at]) * 32), 5) for at in range(9)]
    assert all(drawn.count(one) == 1 for one in drawn)


@given(st.floats(0.001, 1), st.floats(0.001, 0.9999))
def test_so_many_steps_are_enough_and_no_fewer(share: float, rate: float) -> None:
    count = steps_needed(share, rate)
    assert 1 - (1 - share) ** count >= rate - 1e-12
    assert count == 1 or 1 - (1 - share) ** (count - 1) < rate + 1e-12


def test_known_numbers_of_steps() -> None:
    assert [steps_needed(0.5, rate) for rate in (0.5, 0.75, 0.96875, 0.999)] == [1, 2, 5, 10]
    assert steps_needed(1, 0.999) == 1


@pytest.mark.parametrize(("share", "rate"), [(0, 0.5), (1.1, 0.5), (0.5, 0), (0.5, 1), (True, 0.5), ("1", 0.5)])
def test_shares_and_rates_that_are_none(share: float, rate: float) -> None:
    with pytest.raises(InvalidInputError, match="expected a number above 0"):
        steps_needed(share, rate)


def test_what_draws_no_steps() -> None:
    for seed in (b"", bytes(257), "text"):
        with pytest.raises(InvalidInputError, match="expected 1 to 256 bytes"):
            audit_steps(seed, TASK, ANSWER, 1)  # type: ignore[arg-type]
    for count in (0, True, 1.0):
        with pytest.raises(InvalidInputError, match="the number of steps is"):
            audit_steps(b"a", TASK, ANSWER, count)  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="no result digest"):
        audit_steps(b"a", TASK, cv.ImageScore(bytes(16)), 1)
    with pytest.raises(InvalidInputError, match="has no trace"):
        audit_steps(b"a", TASK.replace(binding="pixels"), ANSWER, 1)
