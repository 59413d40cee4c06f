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
from benchmarks.keyed.designs import DESIGNS
from crynux_validate.calibration.intervals import exact
from crynux_validate.hashing.bands import VALUES
from crynux_validate.tasks import Dtype

MARGINS: Final = (1.0, 1.5, 2.0, 2.5)
MARGIN: Final = 1.0
FAR: Final = 4.0

Limits = Mapping[str, npt.NDArray[np.float64]]


def passes(apart: Apart, design: str, limits: npt.NDArray[np.float64], among: Sequence[bool] | None = None) -> str:
    """Return how many pictures pass under more than half of the keys, of how many, and the interval."""
    agree = [bool(one) for one in (apart.distances[design] <= limits).all(2).mean(1) > 0.5]
    chosen = agree if among is None else [one for one, counts in zip(agree, among, strict=True) if counts]
    return _share(sum(chosen), len(chosen))


def fails(apart: Apart, design: str, limits: npt.NDArray[np.float64], among: Sequence[bool]) -> str:
    """Return how many honest pictures fail under more than half of the keys, and, after it, under any."""
    agree = np.asarray((apart.distances[design] <= limits).all(2))[np.array(among)]
    return f"{_share(int((agree.mean(1) <= 0.5).sum()), len(agree))}; {int((~agree.all(1)).sum())} under any key"


def _share(count: int, of: int) -> str:
    if not of:
        return "-"
    low, high = exact(count / of, of)
    return f"{count} of {of} ({float(low):.1%} to {float(high):.1%})"


def fitted_limits(honest: Apart) -> tuple[Limits, list[bool]]:
    """Return the largest distance of each band on the tasks with even numbers, and which tasks have odd ones."""
    odd = [number % 2 == 1 for number in honest.pictures]
    even = [not one for one in odd]
    return {design.name: honest.distances[design.name][even].max((0, 1)) for design in DESIGNS}, odd


def show(folder: Path) -> None:
    """Print every table of a folder of pictures."""
    for dtype in drawing.DTYPES:
        _show(folder, dtype)


def _show(folder: Path, dtype: Dtype) -> None:
    native = drawing.read(folder, dtype, drawing.NATIVE)
    other = drawing.read(folder, dtype, "aten-default")
    ours = comparing.answered(native)
    honest = comparing.apart(ours, comparing.answered(other))
    limits, odd = fitted_limits(honest)
    print(f"\n## {dtype}: {len(honest.pictures)} tasks on native and aten-default, {comparing.KEYS} keys\n")
    for name, found in limits.items():
        print(f"largest of the fitted half, {name}: {', '.join(f'{one:.3f}' for one in found)}")
    print("\n| honest, held out: fail | " + " | ".join(f"margin {margin}" for margin in MARGINS) + " |")
    print("|---" * (1 + len(MARGINS)) + "|")
    for design in DESIGNS:
        row = [fails(honest, design.name, margin * limits[design.name], odd) for margin in MARGINS]
        print(f"| {design.name} | {' | '.join(row)} |")
    print("\n| passes | design | " + " | ".join(f"margin {margin}" for margin in MARGINS) + " |")
    print("|---" * (2 + len(MARGINS)) + "|")
    for name, pictures in _cheats(folder, dtype, native):
        if not pictures:
            continue
        apart = comparing.apart(ours, comparing.answered(pictures))
        for design in DESIGNS:
            row = [passes(apart, design.name, margin * limits[design.name]) for margin in MARGINS]
            print(f"| {name} | {design.name} | {' | '.join(row)} |", flush=True)
        if name in ("grey", "exchanged hues"):
            _show_by_colour(name, native, pictures, apart, MARGIN * limits["values"])
        far = (apart.distances["values"] > FAR * MARGIN * limits["values"]).any(2).mean(1) > 0.5
        print(f"| {name}: far apart, so slashed | values | {_share(int(far.sum()), len(far))} | | | |")
    _show_kinds(folder, dtype, limits)
    _show_formula(native, drawing.read(folder, dtype, "int8-weights") or other)


def _cheats(folder: Path, dtype: Dtype, native: Mapping[int, Picture]) -> Iterator[tuple[str, dict[int, Picture]]]:
    """What each cheat hands in: the quick ones first."""
    for name in drawing.CHEATS:
        yield name, drawing.read(folder, dtype, name)
    for name in comparing.MADE:
        yield name, comparing.made(name, native, 50 if name in comparing.LONG else 5)


def _show_kinds(folder: Path, dtype: Dtype, limits: Limits) -> None:
    """Every pair of kinds, on the tasks that both drew: how many fail at the margin, and the largest distance."""
    names = sorted({file.name[len(dtype) + 1 : -9] for file in folder.glob(f"{dtype}-*.npz")} - {*drawing.CHEATS})
    drawn = {}
    for name in names:
        first = {
            number: picture for number, picture in drawing.read(folder, dtype, name).items() if number < drawing.AT_ONCE
        }
        drawn[name] = comparing.answered(first, designs=DESIGNS[:1])
    print(f"\n| kinds | pictures | fail at {MARGIN} (values) | largest share of a limit |\n|---|---|---|---|")
    for at, one in enumerate(names):
        for two in names[at + 1 :]:
            if {one, two} == {"native", "aten-default"}:
                continue
            apart = comparing.apart(drawn[one], drawn[two])
            distances = apart.distances["values"]
            failed = int(((distances <= MARGIN * limits["values"]).all(2).mean(1) <= 0.5).sum())
            largest = float((distances / (MARGIN * limits["values"])).max())
            print(f"| {one}, {two} | {len(apart.pictures)} | {failed} | {largest:.2f} |", flush=True)


def _show_by_colour(
    name: str,
    native: Mapping[int, Picture],
    pictures: Mapping[int, Picture],
    apart: Apart,
    limits: npt.NDArray[np.float64],
) -> None:
    if name == "grey":
        size = [comparing.chroma(native[number]) for number in apart.pictures]
    else:
        size = [comparing.changed(native[number], pictures[number]) for number in apart.pictures]
    for low, high in ((0, 4), (4, 8), (8, 16), (16, 32), (32, 512)):
        among = [low <= one < high for one in size]
        print(f"| {name}, {low} to {high} levels | values | {passes(apart, 'values', limits, among)} | | | |")


def _show_formula(native: Mapping[int, Picture], others: Mapping[int, Picture]) -> None:
    """The closed formula beside 50 keys: the product over bands of F_chi2,30(30 tau^2 / d^2)."""
    numbers = sorted(set(native) & set(others))[:20]
    ours, theirs = ({number: one[number] for number in numbers} for one in (native, others))
    real = np.array([comparing.differences(ours[number], theirs[number]) for number in numbers])
    both = (comparing.answered(one, 50, DESIGNS[:1]) for one in (ours, theirs))
    distances = comparing.apart(*both).distances["values"]
    print("\n| tau, of the difference's median | predicted | measured, 50 keys |\n|---|---|---|")
    for factor in (0.8, 0.9, 1.0, 1.1, 1.3):
        tau = factor * np.median(real, 0)
        with np.errstate(divide="ignore"):
            predicted = chi2.cdf(VALUES * (tau / real) ** 2, VALUES)
        within = distances <= tau
        print(f"| {factor}, each band | {predicted.mean():.3f} | {within.mean():.3f} |")
        print(f"| {factor}, all bands | {predicted.prod(1).mean():.4f} | {within.all(2).mean():.4f} |")
