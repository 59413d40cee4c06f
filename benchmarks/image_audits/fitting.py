"""From honest steps to bands: how far they scatter, and where that ends."""

import json
import math
import platform
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy.stats import t

import crynux_validate as cv
from benchmarks.image_audits.rows import values
from crynux_validate.audits.bands import PICTURE, PREDICTION, SCHEMA, SIGNED, Band, Spread

Rows = Sequence[dict[str, Any]]

BANDS: Final = Path(cv.__file__).parent / "audits" / "bands.json"

RATE: Final = 1e-6
"""The wanted rate of false alarms of each statistic, if it were normal between pictures and between steps."""

BEYOND: Final = 1.25
"""No limit is nearer than so many times the distance of the furthest honest step: tails are not normal."""

CUT: Final = 4.0
"""In a mean a step counts as at most so many standard deviations from the centre."""

TOGETHER: Final = (2, 3, 5, 10, 20)
"""So many steps are drawn from honest pictures, to see how far their means are off."""

DRAWS: Final = 50

LEAST: Final = {
    "float32": {"latent": 16 * 2.0**-23, "picture": 0.05, "peak": 2.0},
    "float16": {"latent": 2.0**-10, "picture": 0.05, "peak": 2.0},
    "bfloat16": {"latent": 2.0**-7, "picture": 0.05, "peak": 2.0},
}
"""Where honest machines often have equal values: the rounding of a latent's numbers, and of a sample."""

EVERY_STEP: Final = ("guidance-7", "guidance-5", "int8-weights", "int4-weights", "other-prompt", "bfloat16")
"""Cheats with a false prediction in every step."""


def bands(rows: Rows) -> str:
    """Return the file of bands."""
    packages = ("torch", "diffusers", "transformers", "numpy")
    found = {dtype: fitted(rows, dtype) for dtype in ("float32", "float16", "bfloat16")}
    head = {
        "schema": SCHEMA,
        "made_from": "the shipped Stable Diffusion, a prompt and a seed for each picture, on processes that compute "
        f"like other processors and in the arithmetic of cards (fake_hardware.kinds(), gpu_kinds()) on "
        f"{platform.machine()}",
        "versions": {"crynux_validate": cv.__version__, **{name: version(name) for name in packages}},
        "rate": RATE,
    }
    return json.dumps({**head, "bands": {dtype: row for dtype, row in found.items() if row}}, indent=1) + "\n"


def fitted(rows: Rows, dtype: str) -> dict[str, Any] | None:
    """Return the row of one dtype; None where there are no two honest pictures."""
    honest = [row for row in honest_rows(rows, dtype) if row["node"] != row["auditor"]]  # equal kinds have equal bits
    if len({row["picture_number"] for row in honest}) < 2:
        return None
    names = [name for name in (*PREDICTION, *PICTURE) if any(True for row in honest for _ in _of(row, name))]
    statistics = {name: spread(honest, name, LEAST[dtype].get(name, 0.0)) for name in names}
    means = {name: mean_spread(honest, name) for name in PREDICTION if name in statistics}
    schedulers = sorted({row["scheduler"] for row in honest})
    latents = {
        name: spread([row for row in honest if row["scheduler"] == name], "latent", LEAST[dtype]["latent"])
        for name in schedulers
    }
    found: dict[str, Any] = {
        "kinds": sorted({tuple(sorted((row["node"], row["auditor"]))) for row in honest}),
        "sides": sorted({row["side"] for row in honest}),
        "pictures": len({picture_of(row) for row in honest}),
        "steps": sum(len(row["rows"]) for row in honest),
        "room": 1.0,
        "statistics": statistics,
        "means": means,
        "latents": latents,
    }
    return found | {"room": room(rows, dtype, Spread(**statistics["prediction"]))}


def honest_rows(rows: Rows, dtype: str) -> Rows:
    """Those of honest pictures."""
    return [row for row in rows if row["dtype"] == dtype and row["cheat"] is None]


def room(rows: Rows, dtype: str, honest: Spread) -> float:
    """Return how many times as wide the limits are: half the way, in logarithms, from honest steps to the next cheat.

    In float32 distances depend on the model, and there is much room. It is 1 where cheats are as near as noise.
    """
    false = [
        min(values(row["rows"], "prediction"), default=math.inf)
        for row in rows
        if row["dtype"] == dtype and row["cheat"] in EVERY_STEP
    ]
    nearest = min(false, default=0.0)
    return max(1.0, math.sqrt(nearest / (honest.centre + honest.limit())))


def spread(rows: Rows, name: str, least: float) -> dict[str, float]:
    """Return the fields of a `Spread` that honest audits have in one statistic."""
    groups, pictures = _groups(rows, name)
    if not groups:
        return {"centre": 0.0, "between": 0.0, "within": 0.0, "reach": 0.0, "least": least}
    every = np.concatenate(groups)
    centre, reach = float(every.mean()), _quantile(pictures)
    between, within = _deviations(groups)
    deviation = math.hypot(between, within)
    if deviation:
        off = np.abs(every - centre) if name in SIGNED else every - centre
        reach = max(reach, BEYOND * float(off.max()) / deviation)
    return {**_rounded(centre=centre, between=between, within=within, reach=reach), "least": least}


def mean_spread(rows: Rows, name: str) -> dict[str, float]:
    """Return the fields of the `Spread` of means of several steps, each step's value cut."""
    groups, pictures = _groups(rows, name)
    every = np.concatenate(groups)
    centre, cut = float(every.mean()), CUT * float(every.std())
    groups = [centre + np.clip(group - centre, -cut, cut) for group in groups]
    between, within = _deviations(groups)
    reach, generator = _quantile(pictures), np.random.default_rng(0)
    for group in groups:
        for count in {min(count, len(group)) for count in TOGETHER} - {1}:
            deviation = math.hypot(between, within / math.sqrt(count))
            if deviation:
                chosen = generator.permuted(np.tile(group, (DRAWS, 1)), axis=1)[:, :count]
                off = chosen.mean(1) - centre
                reach = max(reach, BEYOND * float((np.abs(off) if name in SIGNED else off).max()) / deviation)
    return _rounded(centre=centre, between=between, within=within, reach=reach, cut=cut)


def _groups(rows: Rows, name: str) -> tuple[list[npt.NDArray[np.float64]], int]:
    """The values of a statistic, a group for each audit, and of how many pictures they are."""
    found = [(picture_of(row), np.array(of)) for row in rows if (of := list(_of(row, name)))]
    return [group for _, group in found], len({picture for picture, _ in found})


def _quantile(pictures: int) -> float:
    """Student's quantile for a new picture at the wanted rate, on both sides."""
    return float(t.ppf(1 - RATE / 2, max(1, pictures - 1))) * math.sqrt(1 + 1 / pictures)


def _deviations(groups: Sequence[npt.NDArray[np.float64]]) -> tuple[float, float]:
    """The standard deviations between groups and within them."""
    means, sizes = np.array([group.mean() for group in groups]), np.array([len(group) for group in groups])
    free = int((sizes - 1).sum())
    within = float(sum(((group - group.mean()) ** 2).sum() for group in groups) / free) if free else 0.0
    between = max(0.0, float(means.var(ddof=1)) - within * float((1 / sizes).mean())) if len(means) > 1 else 0.0
    return math.sqrt(between), math.sqrt(within)


def _rounded(**numbers: float) -> dict[str, float]:
    return {name: float(f"{value:.4g}") for name, value in numbers.items()}


def picture_of(row: dict[str, Any]) -> tuple[Any, ...]:
    """What tells one picture from others."""
    return tuple(row[name] for name in ("scheduler", "side", "count", "picture_number", "cheat"))


def band_of(row: dict[str, Any], scheduler: str) -> Band:
    """The band that a row of the file gives."""
    measured = {**row["statistics"], "latent": row["latents"][scheduler]}
    rooms = {name: 1.0 if name == "peak" else row["room"] for name in measured}
    means = {name: Spread(**of, room=row["room"]) for name, of in row["means"].items()}
    return Band({name: Spread(**of, room=rooms[name]) for name, of in measured.items()}, means, calibrated=True)


def _of(row: dict[str, Any], name: str) -> Iterable[float]:
    if name in PICTURE:
        return [] if row[name] is None else [float(row[name])]
    return values(row["rows"], name)
