"""The plan of honest texts and cheats, and what is reckoned from them: bands, false alarms, a fitted tail."""

import numpy as np
import pytest

pytest.importorskip("torch")

pytest.importorskip("scipy")

from benchmarks.text_audits.measure import Measured
from benchmarks.text_audits.plan import AT_ONCE, CARDS, CARDS_FROM, HONEST, Text, prompt, text
from benchmarks.text_audits.rates import tail

from crynux_validate.calibration.audits.fitting import fit_texts
from crynux_validate.calibration.audits.rates import crossing, held_out


def test_prompts_are_distinct_and_every_kind_has_texts_of_both_halves() -> None:
    some = [*range(3_000), *range(CARDS_FROM, CARDS_FROM + 3_000)]
    assert len({prompt(number) for number in some}) == len(some)
    for first in (0, CARDS_FROM):
        halves: dict[tuple[str, str], set[int]] = {}
        for number in range(first, first + 3_000):
            one = text(number)
            if one.who == HONEST:
                halves.setdefault((one.kind.name, one.way.split(",")[0]), set()).add(one.half)
        assert all(found == {0, 1} for found in halves.values()), halves
    assert {text(CARDS_FROM + number).kind.name for number in range(6)} == set(CARDS)


def made(number: int, kind: str, rng: np.random.Generator) -> Measured:
    """A text whose margins and rows are drawn."""
    margins = np.where(rng.random(300) < 0.01, rng.exponential(0.01, 300), 0.0)
    return Measured(Text(number, HONEST, "bfloat16, sampled", 0), kind, margins, rng.normal(-4, 0.3, 300), {})


def test_no_text_is_judged_by_a_band_of_its_own_kind_or_half() -> None:
    rng = np.random.default_rng(1)
    kinds = ["native", f"native{AT_ONCE}", "aten-default"]
    texts = [made(number, kinds[number % 3], rng).record("0" * 64) for number in range(60)]
    found = list(held_out(texts, fit_texts))
    assert len(found) == 60
    for each, fit in found:
        others = [one for one in texts if one.origin.node != each.origin.node and one.origin.half != each.origin.half]
        assert fit == fit_texts(others)
        assert crossing(each.margins, fit.band) is None


def test_a_tail_says_what_lies_beyond_the_limit() -> None:
    rng = np.random.default_rng(2)
    true = float(np.exp(-1 / 0.15))
    fit = tail(list(rng.exponential(0.15, 3_000)))
    assert (fit.texts, fit.beyond) == (3_000, 300)
    assert abs(fit.shape) < 0.2
    assert true / 5 < fit.flat < 5 * true
    assert fit.flat <= fit.flat_most
    assert fit.rate <= fit.most
    assert fit.most > true
    short = tail(list(rng.uniform(0, 0.2, 1_000)))
    assert short.rate == 0.0, "a tail that ends before the limit"
    assert short.flat < 1e-6
