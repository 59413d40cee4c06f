"""What cards of other arithmetic make of the same task: ``python -m benchmarks.cards --save cards.jsonl``.

One card stands for each distinct arithmetic: Ampere (also Turing and Ada), Hopper (also Blackwell), CDNA3. Texts of the
trained Llama are continued and pictures of the trained Stable Diffusion are drawn in each, in our order, and by this
processor's own products (``native``). For each pair the first token that differs, or how many values differ, by how
much, and the distance of the hashes, is written to the file as soon as it is known. A run that was stopped goes on
where it was; ``--minutes`` stops it after a while.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Final

import numpy as np
from attacks.scenes import prompts

import crynux_validate as cv
from benchmarks.divergence.openings import openings
from benchmarks.divergence.tables import table
from benchmarks.parted import COLUMNS, first_tokens, interval, pairs, read, texts_beside, write
from crynux_validate.testing import tensor_cores, tiny_image_model, tiny_text_model

CARDS: Final = ("native", "ampere", "hopper", "cdna3")
PAIRS: Final = pairs(CARDS)
TOKENS: Final = 200

_SAMPLED: Final = {"do_sample": True, "temperature": 0.8, "top_k": 40}

TEXTS: Final[Mapping[str, tuple[int, Mapping[str, Any]]]] = {
    "text, bfloat16, greedy": (100, {"dtype": "bfloat16"}),
    "text, bfloat16, sampled": (100, {"dtype": "bfloat16", **_SAMPLED}),
    "text, float16, greedy": (30, {"dtype": "float16"}),
    "text, float16, sampled": (30, {"dtype": "float16", **_SAMPLED}),
}
PICTURES: Final[Mapping[str, tuple[int, Mapping[str, Any]]]] = {
    "picture, bfloat16, DDIM": (40, {"dtype": "bfloat16", "scheduler": "DDIMScheduler"}),
    "picture, float16, DDIM": (10, {"dtype": "float16", "scheduler": "DDIMScheduler"}),
    "picture, bfloat16, Euler ancestral": (
        10,
        {"dtype": "bfloat16", "scheduler": "EulerAncestralDiscreteScheduler"},
    ),
}
"""Ways to write and to draw: how many, and fields of the task."""


def main() -> int:
    """Measure what the file does not hold yet, then print the tables of all that it holds."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cards", description=__doc__)
    parser.add_argument("--save", type=Path, required=True, metavar="FILE", help="what was seen, a line each")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin nothing new after so long")
    parser.add_argument("--share", type=float, default=1.0, help="of the numbers of texts and pictures")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="also draw a picture: .png, .svg or .pdf")
    arguments = parser.parse_args()
    seen = read(arguments.save)
    end = time.monotonic() + 60 * arguments.minutes
    known = {(one["way"], one["number"]) for one in seen}
    todo = [part for part in _plan(arguments.share) if part not in known]
    with tempfile.TemporaryDirectory(prefix="cards-") as scratch:
        models = {"text": tiny_text_model(Path(scratch) / "text"), "picture": tiny_image_model(Path(scratch) / "image")}
        for way, number in todo:
            if time.monotonic() >= end:
                break
            seen.append({"way": way, "number": number, "pairs": _compare(models, way, number)})
            write(arguments.save, seen[-1])
            print(way, number, file=sys.stderr, flush=True)
    print(f"The arithmetic of each card, in our order; native is this processor's own.\n\n{tables(seen)}")
    if arguments.plot is not None:
        draw(arguments.plot, seen)
    return 0


def _plan(share: float) -> Iterator[tuple[str, int]]:
    """All ways in turn, so that a run that is stopped has some of each."""
    counts = {way: max(1, round(share * count)) for way, (count, _) in {**TEXTS, **PICTURES}.items()}
    for part in range(max(counts.values())):
        for way, count in counts.items():
            if part < count:
                yield way, part


_runners: dict[tuple[str, str], cv.Runner] = {}


def _compare(models: Mapping[str, cv.ModelRef], way: str, number: int) -> dict[str, Any]:
    kind = way.partition(",")[0]
    task = _task(models[kind], way, number)
    key = (kind, task.dtype)
    if key not in _runners:
        _runners[key] = cv.Runner.for_task(task, "cpu")
    results: dict[str, Any] = {}
    for card in CARDS:
        with nullcontext() if card == "native" else tensor_cores(card):
            results[card] = _runners[key].run(task)
    beside = texts_beside if kind == "text" else _pictures_beside
    return {pair: beside(*(results[card] for card in pair.split(", "))) for pair in PAIRS}


def _task(model: cv.ModelRef, way: str, number: int) -> Any:
    if way in TEXTS:
        asked = [{"role": "user", "content": openings(100)[number]}]
        given = TEXTS[way][1]
        return cv.TextTask(model=model, messages=asked, seed=number, max_new_tokens=TOKENS, eos_token_ids=[], **given)
    given = PICTURES[way][1]
    asked_for = prompts(40)[number]
    return cv.ImageTask(model=model, prompt=asked_for, seed=number, steps=10, width=128, height=128, **given)


def _pictures_beside(one: Any, other: Any) -> dict[str, Any]:
    first, second = (np.asarray(result.images[0], dtype=np.int32) for result in (one, other))
    apart = np.abs(first - second)
    return {
        "share": float((apart > 0).mean()),
        "mean": float(apart.mean()),
        "most": int(apart.max()),
        "hash": cv.hamming(cv.image_hash(one.images[0]), cv.image_hash(other.images[0])),
    }


def tables(seen: list[dict[str, Any]]) -> str:
    """Where texts part, and how far pictures are apart, pair by pair."""
    rows = [(way, pair, *first_tokens(found)) for way, pair, found in _grouped(seen, TEXTS)]
    texts = table(("way", "cards", *COLUMNS), rows)
    head = ("way", "cards", "pictures", "values that differ: 25%", "median", "75%", "by, mean", "by, at most",
            "hash distance above 0", "95% interval", "at most")  # fmt: skip
    rows = []
    for way, pair, found in _grouped(seen, PICTURES):
        shares = np.quantile([one["share"] for one in found], (0.25, 0.5, 0.75))
        apart = sum(one["hash"] > 0 for one in found)
        low, high = interval(apart, len(found))
        most = [str(max(one[name] for one in found)) for name in ("most", "hash")]
        differ = (*(f"{share:.1%}" for share in shares), f"{np.mean([one['mean'] for one in found]):.2f}", most[0])
        hashes = (f"{apart} of {len(found)}", f"{low:.0%} to {high:.0%}", most[1])
        rows.append((way, pair, str(len(found)), *differ, *hashes))
    return f"{texts}\n\n{table(head, rows)}"


def _grouped(seen: list[dict[str, Any]], ways: Mapping[str, Any]) -> Iterator[tuple[str, str, list[Any]]]:
    for way in ways:
        for pair in PAIRS:
            found = [one["pairs"][pair] for one in seen if one["way"] == way]
            if found:
                yield way, pair, found


def draw(path: Path, seen: list[dict[str, Any]]) -> None:
    """Draw how many texts have parted after so many tokens, and how many values of pictures differ."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 4.5), layout="constrained", facecolor="white")
    figure.suptitle(
        "The arithmetic of cards in our order; native is this processor: when texts part, how far pictures are apart"
    )
    axes: Any = figure.subplots(1, 3)
    for axis, way in zip(axes, ("text, bfloat16, greedy", "text, bfloat16, sampled", None), strict=True):
        if way is None:
            found = list(_grouped(seen, {"picture, bfloat16, DDIM": None}))
            axis.boxplot([[100 * one["share"] for one in part] for _, _, part in found], orientation="horizontal")
            axis.set_yticks(range(1, len(found) + 1), [pair for _, pair, _ in found])
            axis.set(title="pictures, bfloat16, DDIM", xlabel="values of a picture that differ, %")
            continue
        for _, pair, part in _grouped(seen, {way: None}):
            first = sorted(one["first"] + 1 for one in part if one["first"] is not None)
            steps = [0, *first, TOKENS]
            shares = [100 * at / len(part) for at in (*range(len(first) + 1), len(first))]
            axis.step(steps, shares, where="post", label=f"{pair} ({len(part)})")
        axis.set(title=way, xlabel="new tokens", ylabel="texts that have parted, %", ylim=(0, 100))
        axis.legend(fontsize=8)
    figure.savefig(path, dpi=100)


if __name__ == "__main__":
    sys.exit(main())
