"""The tables of `docs/measurements/keyed.md`: what passes under more than half of the keys, with exact intervals."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from attacks.answer import Picture
from scipy.stats import chi2

from benchmarks.keyed import comparing, drawing
from benchmarks.keyed.comparing import Apart
from benchmarks.keyed.designs import DESIGNS, Design
from crynux_validate.calibration.intervals import exact
from crynux_validate.calibration.keyed import MARGIN
from crynux_validate.hashing.bands import STEPS, VALUES
from crynux_validate.tasks import Dtype

MARGINS: Final = (1.0, 1.5, 2.0, 2.5)
FAR: Final = 2.0
SPLITS: Final = 40
CHOSEN: Final = DESIGNS[0]
"""What ``keyed/1`` is."""

Limits = npt.NDArray[np.float64]


def limits_of(distances: npt.NDArray[np.float64], design: Design, margin: float) -> Limits:
    """Return a limit for each band: so many times the largest distance, and room for roundings as `calibrate_keyed`."""
    found: Limits = np.sqrt((margin * distances.max((0, 1))) ** 2 + design.rounding**2)
    return found


def passes(distances: npt.NDArray[np.float64], limits: Limits, among: Sequence[bool] | None = None) -> str:
    """Return how many pictures pass under more than half of the keys, of how many, and the interval."""
    agree = [bool(one) for one in (distances <= limits).all(2).mean(1) > 0.5]
    chosen = agree if among is None else [one for one, counts in zip(agree, among, strict=True) if counts]
    return _share(sum(chosen), len(chosen))


def slashed(distances: npt.NDArray[np.float64], limits: Limits) -> npt.NDArray[np.bool_]:
    """Return which pictures are far apart under more than half of the keys."""
    far: npt.NDArray[np.bool_] = (distances > FAR * limits).any(2).mean(1) > 0.5
    return far


def fails(honest: Apart, design: Design, margin: float) -> str:
    """Return how many honest pictures fail under more than half of the keys, under any, and are slashed, held out.

    Each half, of the tasks with even and odd numbers, is judged by the limits of the other. After it, on average and at
    most, how many fail in halves that were drawn at random.
    """
    distances = honest.distances[design.name]
    odd = np.array([number % 2 == 1 for number in honest.pictures])
    agree, far = np.empty(distances.shape[:2], np.bool_), np.empty(len(odd), np.bool_)
    for half in (odd, ~odd):
        limits = limits_of(distances[~half], design, margin)
        agree[half] = (distances[half] <= limits).all(2)
        far[half] = slashed(distances[half], limits)
    generator, drawn = np.random.default_rng(0), []
    for _ in range(SPLITS):
        order = generator.permutation(len(odd))
        fitted, held_out = distances[order[::2]], distances[order[1::2]]
        within = (held_out <= limits_of(fitted, design, margin)).all(2).mean(1)
        drawn.append(int((within <= 0.5).sum()))
    return (
        f"{_share(int((agree.mean(1) <= 0.5).sum()), len(agree))}; under any key {int((~agree.all(1)).sum())}; slashed "
        f"{int(far.sum())}; halves at random {np.mean(drawn):.2f}, most {max(drawn)}"
    )


def _share(count: int, of: int) -> str:
    if not of:
        return "-"
    low, high = exact(count / of, of)
    return f"{count} of {of} ({float(low):.1%} to {float(high):.1%})"


def show(folder: Path) -> None:
    """Print every table of a folder of pictures."""
    for dtype in drawing.DTYPES:
        _show(folder, dtype)


def _show(folder: Path, dtype: Dtype) -> None:
    native = drawing.read(folder, dtype, drawing.NATIVE)
    other = drawing.read(folder, dtype, "aten-default")
    ours = comparing.answered(native)
    honest = comparing.apart(ours, comparing.answered(other))
    print(f"\n## {dtype}: {len(honest.pictures)} tasks on native and aten-default, {comparing.KEYS} keys\n")
    for design in DESIGNS:
        distances = honest.distances[design.name]
        for name, found in (("largest", distances.max((0, 1))), ("99%", np.quantile(np.median(distances, 1), 0.99, 0))):
            print(f"{name}, {design.name}: {', '.join(f'{one:.3f}' for one in found)}")
    print("\n| honest, held out: fail | " + " | ".join(f"margin {margin}" for margin in MARGINS) + " |")
    print("|---" * (1 + len(MARGINS)) + "|")
    for design in DESIGNS:
        row = [fails(honest, design, margin) for margin in MARGINS]
        print(f"| {design.name} | {' | '.join(row)} |")
    _show_few(honest)
    print("\n| passes | design | " + " | ".join(f"margin {margin}" for margin in MARGINS) + " |")
    print("|---" * (2 + len(MARGINS)) + "|")
    chosen = limits_of(honest.distances[CHOSEN.name], CHOSEN, MARGIN)
    for name, pictures in _cheats(folder, dtype, native):
        if not pictures:
            continue
        apart = comparing.apart(ours, comparing.answered(pictures))
        for design in DESIGNS:
            own, distances = honest.distances[design.name], apart.distances[design.name]
            row = [passes(distances, limits_of(own, design, margin)) for margin in MARGINS]
            print(f"| {name} | {design.name} | {' | '.join(row)} |", flush=True)
        if name in ("grey", "exchanged hues"):
            _show_by_colour(name, native, pictures, apart, chosen)
        far = slashed(apart.distances[CHOSEN.name], chosen)
        print(f"| {name}: slashed | {CHOSEN.name}, margin {MARGIN} | {_share(int(far.sum()), len(far))} | | | |")
    _show_kinds(folder, dtype, chosen)
    _show_formula(native, drawing.read(folder, dtype, "int8-weights") or other)


def _show_few(honest: Apart) -> None:
    """What a calibration of few pictures costs the others: drawn sixty times."""
    distances, generator = honest.distances[CHOSEN.name], np.random.default_rng(0)
    print(
        f"\n| pictures of a calibration | not paid of 3000, margin {MARGIN} | most | slashed | most |\n"
        "|---|---|---|---|---|"
    )
    for count in (20, 100, 300, 1000):
        if 2 * count > len(distances):
            continue
        shares = []
        for _ in range(60):
            order = generator.permutation(len(distances))
            limits, rest = limits_of(distances[order[:count]], CHOSEN, MARGIN), distances[order[count:]]
            shares.append([((rest <= limits).all(2).mean(1) <= 0.5).mean(), slashed(rest, limits).mean()])
        means, most = 3000 * np.mean(shares, 0), 3000 * np.max(shares, 0)
        print(f"| {count} | {means[0]:.2f} | {most[0]:.1f} | {means[1]:.3f} | {most[1]:.1f} |")


def _cheats(folder: Path, dtype: Dtype, native: Mapping[int, Picture]) -> Iterator[tuple[str, dict[int, Picture]]]:
    """What each cheat hands in: the quick ones first."""
    for name in drawing.CHEATS:
        yield name, drawing.read(folder, dtype, name)
    for name in comparing.MADE:
        yield name, comparing.made(name, native, 7 if name in comparing.LONG else 5)


def _show_kinds(folder: Path, dtype: Dtype, limits: Limits) -> None:
    """Every pair of kinds, on the tasks that both drew: how many fail, and the largest distance."""
    names = sorted({file.name[len(dtype) + 1 : -9] for file in folder.glob(f"{dtype}-*.npz")} - {*drawing.CHEATS})
    drawn = {}
    for name in names:
        drawn[name] = comparing.answered(drawing.read(folder, dtype, name), designs=DESIGNS[:1])
    print(
        f"\n| kinds | pictures | fail, {CHOSEN.name}, margin {MARGIN} | largest share of a limit |\n|---|---|---|---|"
    )
    for at, one in enumerate(names):
        for two in names[at + 1 :]:
            if {one, two} == {"native", "aten-default"}:
                continue
            apart = comparing.apart(drawn[one], drawn[two])
            distances = apart.distances[CHOSEN.name]
            failed = int(((distances <= limits).all(2).mean(1) <= 0.5).sum())
            largest = float((distances / limits).max())
            print(f"| {one}, {two} | {len(apart.pictures)} | {failed} | {largest:.2f} |", flush=True)


def _show_by_colour(
    name: str,
    native: Mapping[int, Picture],
    pictures: Mapping[int, Picture],
    apart: Apart,
    limits: Limits,
) -> None:
    if name == "grey":
        size = [comparing.chroma(native[number]) for number in apart.pictures]
    else:
        size = [comparing.changed(native[number], pictures[number]) for number in apart.pictures]
    for low, high in ((0, 4), (4, 8), (8, 16), (16, 32), (32, 512)):
        share = passes(apart.distances[CHOSEN.name], limits, [low <= one < high for one in size])
        print(f"| {name}, {low} to {high} levels | {CHOSEN.name}, margin {MARGIN} | {share} | | | |")


def _show_formula(native: Mapping[int, Picture], others: Mapping[int, Picture]) -> None:
    """The closed formula beside 50 keys: the product over bands of F_chi2,30(30 tau^2 / d^2), in units of contrast."""
    numbers = sorted(set(native) & set(others))[:20]
    ours, theirs = ({number: one[number] for number in numbers} for one in (native, others))
    real = np.array([comparing.in_contrasts(ours[number], theirs[number]) for number in numbers])
    real = np.sqrt(real**2 + 1 / 6 / STEPS**2)  # of two values, each rounded by up to half a step
    both = (comparing.answered(one, 50, DESIGNS[:1]) for one in (ours, theirs))
    distances = comparing.apart(*both).distances[CHOSEN.name]
    print("\n| tau, of the difference's median | predicted | measured, 50 keys |\n|---|---|---|")
    for factor in (0.8, 0.9, 1.0, 1.1, 1.3):
        tau = factor * np.median(real, 0)
        with np.errstate(divide="ignore"):
            predicted = chi2.cdf(VALUES * (tau / real) ** 2, VALUES)
        within = distances <= tau
        print(f"| {factor}, each band | {predicted.mean():.3f} | {within.mean():.3f} |")
        print(f"| {factor}, all bands | {predicted.prod(1).mean():.4f} | {within.all(2).mean():.4f} |")
