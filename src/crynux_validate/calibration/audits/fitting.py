"""From honest audits to bands: how far they scatter, and where that ends."""

import math
from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np

from crynux_validate.audits.image_bands import PICTURE, PREDICTION, SIGNED, ImageBands, MeanSpread, Spread
from crynux_validate.audits.text_bands import TextBand, TextBands
from crynux_validate.calibration.audits.records import ImageRecord, Origin, TextRecord
from crynux_validate.calibration.intervals import Floats

RATE: Final = 1e-6
"""The wanted rate of false alarms: of each statistic of images, if it were normal between pictures and between steps;
of the margins of a text, if tokens were independent."""

_FURTHEST: Final = 2.0
"""No limit of a step is nearer than so many times the distance of the furthest honest one: tails are not normal."""

BEYOND: Final = {"prediction": (3.0, 1.5), "smooth": (3.0, 1.5)} | dict.fromkeys(SIGNED, (_FURTHEST, 1.5))
"""The same of a step of each statistic, and of means, which are cut. Lengths differ more between kinds and pictures
than directions: of 18,500 held-out steps in bfloat16 one had 2.5 times the furthest length of the others."""

_NEAR: Final = 1.1
"""That of means of directions in bfloat16, where known cheats are near: of 47,800 held-out audits two honest ones were
further."""

_BEYOND_TEXTS: Final = 1.25
"""The same of texts."""

_CUT: Final = 4.0
"""In a mean a step counts as at most so many standard deviations from the centre."""

_TOGETHER: Final = (2, 3, 4, 5, 6, 8, 10, 15, 20)
"""So many steps are drawn from honest pictures, to see how far their means are off."""

_DRAWS: Final = 100

_LEAST: Final = {
    "float32": {"latent": 16 * 2.0**-23, "picture": 0.05, "peak": 2.0},
    "float16": {"latent": 2.0**-10, "picture": 0.05, "peak": 2.0},
    "bfloat16": {"latent": 2.0**-7, "picture": 0.05, "peak": 2.0},
}
"""Where honest machines often have equal values: the rounding of a latent's numbers, and of a sample."""

_RATES: Final = {"bfloat16": 50.0, "float16": 400.0, "float32": 5_000.0}
"""For each dtype at most one over the margins that count: honest ones of the small Llama are a few hundredths in
bfloat16, an eighth of that in float16, and a few hundred-thousandths in float32. Larger margins make it less."""

_CLIP: Final = 0.7
"""What one token counts at most, as a share of the start."""

_SAFETY: Final = 2.0
"""How many times the slope that was measured a band has."""

_ROWS: Final = 6.3e-5
"""The wanted rate of false alarms of bound rows: four standard deviations of many texts."""


def pictures_of(records: Iterable[ImageRecord]) -> int:
    """How many pictures have steps with other bits."""
    return len({record.origin.thing for record in records if len(record.values["prediction"])})


def fit_images(records: Sequence[ImageRecord], cheats: Sequence[ImageRecord] = ()) -> ImageBands:
    """Return what is known of honest pictures of one dtype.

    Parameters
    ----------
    records
        Of honest nodes; of at least two pictures some steps have other bits.
    cheats
        Of nodes with a false prediction in every step: they say how much room there is.
    """
    least = _LEAST[records[0].origin.dtype]
    names = [name for name in (*PREDICTION, *PICTURE) if any(len(record.values[name]) for record in records)]
    statistics = {name: spread(records, name, least.get(name, 0.0)) for name in names}
    for name in PICTURE:  # where no picture was shown
        statistics.setdefault(name, Spread(0.0, 0.0, 0.0, 0.0, least[name]))
    schedulers = sorted({record.scheduler for record in records})
    by_scheduler = {name: [record for record in records if record.scheduler == name] for name in schedulers}
    pictures = pictures_of(records)
    return ImageBands(
        **_made_from(record.origin for record in records),
        sizes=tuple(sorted({record.size for record in records})),
        pictures=pictures,
        steps=sum(len(record.steps) for record in records),
        room=_room(statistics["prediction"], cheats),
        statistics=statistics,
        means={name: mean_spread(records, name) for name in PREDICTION if name in statistics},
        latents={name: spread(of, "latent", least["latent"], pictures) for name, of in by_scheduler.items()},
        schedulers={name: pictures_of(of) for name, of in by_scheduler.items()},
    )


def _made_from(origins: Iterable[Origin]) -> dict[str, Any]:
    found = list(origins)
    return {
        "models": tuple(sorted({one.model for one in found})),
        "kinds": tuple(sorted({one.pair for one in found})),
    }


def _room(honest: Spread, cheats: Sequence[ImageRecord]) -> float:
    """Half the way, in logarithms, from honest steps to the nearest cheat; 1 where cheats are as near as noise."""
    nearest = min((float(cheat.values["prediction"].min()) for cheat in cheats if len(cheat.values["prediction"])),
                  default=0.0)  # fmt: skip
    return float(f"{max(1.0, math.sqrt(nearest / (honest.centre + honest.limit()))):.4g}")


def spread(records: Iterable[ImageRecord], name: str, least: float, pictures: int | None = None) -> Spread:
    """Return the spread of one statistic.

    Parameters
    ----------
    records
        Of honest nodes.
    name
        The statistic.
    least
        No limit is narrower.
    pictures
        How many pictures tell the deviations; by default those that have the statistic.
    """
    found = [(record.origin.thing, record.values[name]) for record in records if len(record.values[name])]
    if not found:
        return Spread(0.0, 0.0, 0.0, 0.0, least)
    centre, between, within = components([group for _, group in found])
    reach = student(RATE, len({thing for thing, _ in found}) if pictures is None else pictures)
    deviation = math.hypot(between, within)
    if deviation:
        off = np.concatenate([group for _, group in found]) - centre
        beyond = BEYOND[name][0] if name in BEYOND else _FURTHEST
        reach = max(reach, beyond * float((np.abs(off) if name in SIGNED else off).max()) / deviation)
    numbers = {"centre": centre, "between": between, "within": within, "reach": reach}
    return Spread(**{name: float(f"{value:.4g}") for name, value in numbers.items()}, least=least)


def mean_spread(records: Iterable[ImageRecord], name: str) -> MeanSpread:
    """Return what means of several steps have: drawn from honest pictures, for each number of steps by itself."""
    found = [(record.origin, record.shared[name]) for record in records if len(record.shared[name])]
    every = np.concatenate([group for _, group in found])
    centre, cut = float(every.mean()), _CUT * float(every.std())
    groups = [np.clip(group - centre, -cut, cut) for group in sorted((group for _, group in found), key=list)]
    near = name in SIGNED and found[0][0].dtype == "bfloat16"
    beyond = _NEAR if near else BEYOND[name][1]
    reach, generator = student(RATE, len({origin.thing for origin, _ in found})), np.random.default_rng(0)
    limits: list[tuple[int, float]] = []
    for count in _TOGETHER:
        means = [generator.permuted(np.tile(group, (_DRAWS, 1)), axis=1)[:, :count].mean(1)
                 for group in groups if len(group) >= count]  # fmt: skip
        if not means:
            break
        off = np.abs(means) if name in SIGNED else np.array(means)
        limit = max(reach * float(np.sqrt(np.square(means).mean())), beyond * float(off.max()))
        limits.append((count, float(f"{limit:.4g}")))
    return MeanSpread(float(f"{centre:.4g}"), float(f"{cut:.4g}"), tuple(limits or [(2, float(f"{cut:.4g}"))]))


def components(groups: Sequence[Floats]) -> tuple[float, float, float]:
    """Return the mean of all values, and the standard deviations between groups and within them."""
    every, means = np.concatenate(groups), np.array([group.mean() for group in groups])
    sizes = np.array([len(group) for group in groups])
    free = int((sizes - 1).sum())
    within = float(sum(((group - group.mean()) ** 2).sum() for group in groups) / free) if free else 0.0
    between = max(0.0, float(means.var(ddof=1)) - within * float((1 / sizes).mean())) if len(means) > 1 else 0.0
    return float(every.mean()), math.sqrt(between), math.sqrt(within)


def student(rate: float, things: int) -> float:
    """Return how many standard deviations from the mean of so many things a new one is at a rate, on both sides."""
    from scipy.stats import t

    return float(t.ppf(1 - rate / 2, max(1, things - 1))) * math.sqrt(1 + 1 / things)


def fit_texts(records: Sequence[TextRecord]) -> TextBands:
    """Return what is known of honest texts of one dtype: the noisiest kind of machine decides."""
    largest = max(float(record.margins.max()) for record in records)
    rate = _RATES[records[0].origin.dtype]
    if largest > 0:
        rate = min(rate, _CLIP * -math.log(RATE) / (_BEYOND_TEXTS * largest))
    start = -math.log(RATE) / rate
    slopes = []
    for kind in sorted({record.origin.node for record in records}):
        margins = [np.minimum(each.margins, _CLIP * start) for each in records if each.origin.node == kind]
        # Token by token, and text by text, in which tokens may depend on one another.
        slopes.append(math.log(np.exp(rate * np.concatenate(margins)).mean()) / rate)
        sums = np.array([found.sum() for found in margins])
        tokens = float(np.mean([len(found) for found in margins]))
        slopes.append(math.log(np.exp(rate * (sums - sums.max())).mean()) / rate / tokens + float(sums.max()) / tokens)
    centre, between, within = components([record.rows for record in records])
    texts = len({record.origin.thing for record in records})
    off = [abs(float(record.rows.mean()) - centre) / math.hypot(between, within / math.sqrt(len(record.rows)))
           for record in records]  # fmt: skip
    numbers = {
        "clip": _CLIP * start,
        "slope": _SAFETY * max(slopes),
        "start": start,
        "rate": rate,
        "top_mean": centre,
        "top_between": between,
        "top_within": within,
        "top_range": max(student(_ROWS, texts), _BEYOND_TEXTS * max(off)),
    }
    lengths = [len(record.margins) for record in records]
    return TextBands(
        **_made_from(record.origin for record in records),
        texts=texts,
        tokens=(min(lengths), max(lengths)),
        band=TextBand(**{name: float(f"{value:.3g}") for name, value in numbers.items()}),
    )
