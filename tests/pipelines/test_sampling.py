"""Choosing tokens: warpers keep what transformers' own keep, and samples follow the softmax."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from transformers.generation import logits_process

from crynux_validate import ModelRef, TextTask
from crynux_validate.errors import PipelineError
from crynux_validate.pipelines.elementary import exp, log
from crynux_validate.pipelines.noise import Purpose, gumbel, token_uniform, uniform
from crynux_validate.pipelines.text import sampling
from crynux_validate.pipelines.text.sampling import Candidates, choose, warpers
from crynux_validate.tasks import WARPERS

MODEL = ModelRef("owner/name", revision="0" * 40)
TASK = TextTask(model=MODEL, prompt="a", do_sample=True)
NOTHING = np.empty(0, dtype=np.int64)

# What transformers calls the same.
THEIRS: dict[str, Callable[[float], Any]] = {
    "temperature": lambda value: logits_process.TemperatureLogitsWarper(value),
    "top_k": lambda value: logits_process.TopKLogitsWarper(int(value)),
    "top_p": lambda value: logits_process.TopPLogitsWarper(value),
    "min_p": lambda value: logits_process.MinPLogitsWarper(value),
    "typical_p": lambda value: logits_process.TypicalLogitsWarper(value),
    "repetition_penalty": lambda value: logits_process.RepetitionPenaltyLogitsProcessor(value),
}
VALUES: dict[str, list[float]] = {
    "temperature": [0.01, 0.7, 1.3, 100.0],
    "top_k": [1, 2, 50, 5000],
    "top_p": [0.01, 0.3, 0.9, 0.999],
    "min_p": [0.001, 0.05, 0.5, 1.0],
    "typical_p": [0.05, 0.5, 0.95],
    "repetition_penalty": [0.5, 1.2, 3.0],
}
CASES = [(name, value) for name, values in VALUES.items() for value in values]


def random_logits(seed: int, size: int = 300) -> sampling.Float32s:
    rng = np.random.default_rng(seed)
    logits: sampling.Float32s = (rng.standard_normal(size) * rng.choice([0.3, 3, 10])).astype(np.float32)
    return logits


def ours(name: str, value: float, logits: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """The logits after one warper, minus infinity for what was cut."""
    (warper,) = warpers(TASK.replace(**{name: int(value) if name == "top_k" else value}))
    found = warper(Candidates(np.arange(len(logits)), logits), seen)
    result = np.full(len(logits), -np.inf, dtype=np.float32)
    result[found.ids] = found.scores
    return result


@pytest.mark.parametrize(("name", "value"), CASES)
@pytest.mark.parametrize("seed", range(12))
def test_a_warper_does_what_transformers_does(name: str, value: float, seed: int) -> None:
    logits = random_logits(seed)
    seen = np.array([3, 3, 5, 299])
    expected = THEIRS[name](value)(torch.from_numpy(seen)[None], torch.from_numpy(logits.copy())[None])[0].numpy()
    assert np.array_equal(ours(name, value, logits, seen), expected), "the bits, and not only the tokens"


@given(
    st.integers(0, 2**32),
    st.permutations(WARPERS),
    st.floats(0.3, 3).filter(lambda value: value != 1),
    st.integers(1, 60),
    st.floats(0.05, 0.99),
    st.floats(0.001, 0.5),
    st.floats(0.5, 2).filter(lambda value: value != 1),
)
@settings(max_examples=60, deadline=None)
def test_any_order_of_warpers(
    seed: int, order: list[str], heat: float, k: int, p: float, least: float, penalty: float
) -> None:
    task = TASK.replace(
        temperature=heat, top_k=k, top_p=p, min_p=least, repetition_penalty=penalty, typical_p=0.9, warper_order=order
    )
    logits, seen = random_logits(seed), np.array([1, 2, 3])
    found = Candidates(np.arange(len(logits)), logits)
    expected = torch.from_numpy(logits.copy())[None]
    for warper, name in zip(warpers(task), order, strict=True):
        near_a_limit = float32_decides(name, getattr(task, name), found)
        found = warper(found, seen)
        expected = THEIRS[name](getattr(task, name))(torch.from_numpy(seen)[None], expected)
        kept = np.flatnonzero(np.isfinite(expected[0].numpy()))
        if near_a_limit:
            # Go on with what theirs kept.
            found = Candidates(kept, expected[0].numpy()[kept])
        assert found.ids.tolist() == kept.tolist()
        assert np.array_equal(found.scores, expected[0].numpy()[kept])
    assert len(found.ids) >= 1


def float32_decides(name: str, value: float, found: Candidates) -> bool:
    """Whether a cumulated or relative probability lies so near to the limit that float32 may cut elsewhere."""
    likely = np.sort(sampling.probabilities(found.scores))
    if name == "top_p":
        return bool(np.abs(np.cumsum(likely) - (1 - value)).min() < 1e-6)
    if name == "min_p":
        return bool(np.abs(likely / likely[-1] - value).min() < 1e-6)
    if name == "typical_p":
        # Its order of equally surprising tokens, and its limit, both hang on the last bits.
        apart = np.sort(np.abs(-np.log(likely + 1e-300) - float(-(likely * np.log(likely + 1e-300)).sum())))
        order = np.argsort(np.abs(-np.log(likely + 1e-300) - float(-(likely * np.log(likely + 1e-300)).sum())))
        near = np.abs(np.cumsum(likely[order]) - value).min() < 1e-6
        return bool(near or (np.diff(apart) < 1e-5).any())
    return False


@pytest.mark.parametrize("heat", [0.5, 1.0, 2.0])
def test_samples_follow_the_softmax(heat: float) -> None:
    logits = np.array([0.0, 1.0, 2.0, -1.0, 0.5, -np.inf], dtype=np.float32)
    task = TASK.replace(temperature=heat, seed=5)
    chain, draws = warpers(task), 6000
    counts = np.zeros(len(logits))
    for step in range(draws):
        counts[choose(task, chain, logits, NOTHING, 0, step)] += 1
    weights = np.exp(logits.astype(np.float64) / heat)
    expected = draws * weights / weights.sum()
    assert counts[-1] == 0
    chi_square = float(((counts - expected)[:-1] ** 2 / expected[:-1]).sum())
    assert chi_square < 18.5, "four degrees of freedom: 0.1% of honest samplers are above"


def test_samples_of_what_the_warpers_left_follow_its_softmax() -> None:
    logits = np.array([0.0, 1.0, 2.0, -1.0, 0.5, 1.9], dtype=np.float32)
    task = TASK.replace(top_k=3, seed=6)
    chain, draws = warpers(task), 6000
    counts = np.bincount([choose(task, chain, logits, NOTHING, 1, step) for step in range(draws)], minlength=6)
    kept = [1, 2, 5]
    assert counts.sum() == counts[kept].sum()
    weights = np.exp(logits[kept].astype(np.float64))
    expected = draws * weights / weights.sum()
    assert float(((counts[kept] - expected) ** 2 / expected).sum()) < 13.8, "two degrees of freedom: 0.1%"


def test_another_seed_sequence_or_step_is_another_sample() -> None:
    logits = np.zeros(5000, dtype=np.float32)
    first = choose(TASK, (), logits, NOTHING, 0, 0)
    assert first == choose(TASK, (), logits, NOTHING, 0, 0)
    others = [
        choose(TASK.replace(seed=1), (), logits, NOTHING, 0, 0),
        choose(TASK, (), logits, NOTHING, 1, 0),
        choose(TASK, (), logits, NOTHING, 0, 1),
    ]
    assert len({first, *others}) == 4


def test_what_was_cut_does_not_change_the_noise_of_the_rest() -> None:
    """So that a small difference in logits changes few tokens, and an auditor can check each alone."""
    logits = random_logits(1, 2000)
    best = choose(TASK, (), logits, NOTHING, 0, 0)
    for k in (1900, 1000, 300):
        task = TASK.replace(top_k=k)
        kept = warpers(task)[0](Candidates(np.arange(2000), logits), NOTHING)
        if best in kept.ids:
            assert choose(task, warpers(task), logits, NOTHING, 0, 0) == best


@pytest.mark.parametrize(
    ("values", "settings"),
    [([-np.inf] * 300, {"top_k": 5}), ([3e38] * 300, {"temperature": 0.01})],
)
def test_logits_that_are_no_numbers(values: list[float], settings: dict[str, Any]) -> None:
    task = TASK.replace(**settings)
    with pytest.raises(PipelineError, match="the logits of token 3 are NaN or infinite"):
        choose(task, warpers(task), np.array(values, dtype=np.float32), NOTHING, 0, 3)


def test_ties_go_to_the_lowest_id() -> None:
    logits = np.array([1.0, 3.0, 3.0, 3.0], dtype=np.float32)
    assert choose(TASK.replace(do_sample=False), (), logits, NOTHING, 0, 0) == 1
    penalized = TASK.replace(do_sample=False, repetition_penalty=2.0)
    assert choose(penalized, warpers(penalized), logits, np.array([1]), 0, 0) == 2


def test_of_equally_likely_tokens_the_highest_id_is_cut_first() -> None:
    logits = np.zeros(4, dtype=np.float32)
    (cut,) = warpers(TASK.replace(top_p=0.5))
    assert cut(Candidates(np.arange(4), logits), NOTHING).ids.tolist() == [0, 1]


@given(st.integers(1, 40_000), st.integers(0, 2**53 - 1), st.integers(0, 15), st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
@example(40_000, 0, 0, 0)
def test_the_noise_of_a_token_is_the_same_whoever_else_is_drawn(size: int, seed: int, sequence: int, step: int) -> None:
    everyone = token_uniform(seed, sequence=sequence, step=step, tokens=np.arange(size))
    some = np.unique(np.random.default_rng(seed).integers(0, size, 7))
    assert np.array_equal(token_uniform(seed, sequence=sequence, step=step, tokens=some), everyone[some])
    assert np.array_equal(everyone, uniform(seed, image=sequence, draw=step, shape=size, purpose=Purpose.TOKEN))
    assert np.allclose(gumbel(everyone), -np.log(-np.log(everyone)), rtol=1e-12, atol=1e-12)


def test_gumbel_numbers_are_gumbel() -> None:
    values = np.sort(gumbel(token_uniform(3, sequence=0, step=0, tokens=np.arange(200_000))))
    assert abs(values.mean() - 0.5772) < 0.01
    assert abs(values.var() - math.pi**2 / 6) < 0.03
    distribution = np.exp(-np.exp(-values[::10]))
    assert np.abs(distribution - np.arange(0, 200_000, 10) / 200_000).max() < 1.95 / math.sqrt(200_000)


@given(st.integers(0, 2**32), st.booleans())
@settings(max_examples=50, deadline=None)
def test_the_short_way_to_the_largest_sum_is_the_long_way(seed: int, flat: bool) -> None:
    """Most noise of a large vocabulary need not be computed to the last bit."""
    rng = np.random.default_rng(seed)
    size = int(rng.integers(1, 9000))
    logits = (rng.standard_normal(size) * (0.01 if flat else rng.choice([1, 5, 30]))).astype(np.float32)
    found = Candidates(np.sort(rng.permutation(20_000)[:size]), logits)
    uniforms = token_uniform(seed, sequence=2, step=9, tokens=found.ids)
    expected = (logits.astype(np.float64) + gumbel(uniforms)).argmax()
    assert sampling.noisy_argmax(found, seed, 2, 9) == expected


@given(st.lists(st.floats(-800, 0), min_size=1, max_size=50))
def test_exp_is_accurate_to_a_few_ulps(values: list[float]) -> None:
    for value, found in zip(values, exp(np.array(values)), strict=True):
        expected = math.exp(value) if value >= -708 else 0.0
        assert found == pytest.approx(expected, rel=1e-15, abs=0)


@given(st.lists(st.floats(1e-300, 1e300), min_size=1, max_size=50))
def test_log_of_any_size(values: list[float]) -> None:
    assert log(np.array(values)) == pytest.approx([math.log(value) for value in values], rel=1e-14, abs=1e-15)
