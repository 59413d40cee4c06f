"""Write texts, look at them, make bands, and print error rates in Markdown; it goes on where it was stopped."""

import argparse
import itertools
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.text_audits import tables
from benchmarks.text_audits.measure import Measured, measure, read
from benchmarks.text_audits.plan import CARDS_FROM, HONEST, Text, text
from benchmarks.text_audits.write import file_of, make_copies, write
from crynux_validate import ModelRef
from crynux_validate.testing import fake_hardware, tiny_text_model

CHUNK: Final = 60
"""Texts of a kind that are written before the next kind's turn: a stop loses them, or one where they are single."""
MEASURED: Final = 100
"""Texts that are looked at before the next look at the clock."""
LOOKING: Final = 5.0
"""Minutes after the stop of the writing in which texts are still looked at."""


def main() -> int:
    """Do what the arguments ask for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.text_audits", description=__doc__)
    parser.add_argument("folder", type=Path, help="where texts, what was measured, and the bands are kept")
    parser.add_argument("--texts", type=int, default=2_000, help="how many honest texts; cheats stand between them")
    parser.add_argument(
        "--cards", type=int, default=0, help="how many texts of emulated cards and in float16, cheats among them"
    )
    parser.add_argument(
        "--alone", type=int, default=420, help="texts with less numbers are written one by one, the others many at once"
    )
    parser.add_argument(
        "--minutes", type=float, default=1e9, help="stop writing after so many, and looking a little later"
    )
    parser.add_argument("--model", type=Path, metavar="DIR", help="without it the model of tiny_text_model")
    arguments = parser.parse_args()
    folder: Path = arguments.folder
    folder.mkdir(parents=True, exist_ok=True)
    model = tiny_text_model(folder / "model") if arguments.model is None else ModelRef.local(arguments.model)
    end = time.monotonic() + 60 * arguments.minutes
    wanted = [*planned(arguments.texts), *(text(CARDS_FROM + number) for number in range(arguments.cards))]
    _write_missing(folder, model, wanted, end, arguments.alone)
    found = _measured(folder, model, wanted, end)
    if not found:
        print("nothing was measured yet", file=sys.stderr)
        return 1
    bands = tables.bands(found, model)
    bands.save(folder / "bands.json")
    print(tables.tables(found, bands))
    return 0


def planned(honest: int) -> list[Text]:
    """The texts of the plan until there are that many honest ones."""
    found: list[Text] = []
    numbers = itertools.count()
    while honest > 0:
        found.append(text(next(numbers)))
        honest -= found[-1].who == HONEST
    return found


def _write_missing(folder: Path, model: ModelRef, wanted: Sequence[Text], end: float, alone: int) -> None:
    """Write what is not there, in the order of the plan, a chunk of each kind at a time."""
    copies, texts = folder / "copies", str(folder / "texts")
    missing = [each for each in wanted if not file_of(texts, each.number).exists()]
    if not missing:
        return
    copies.mkdir(parents=True, exist_ok=True)
    kinds = fake_hardware.kinds()
    _run(kinds[0], make_copies, model, str(copies))
    for start in range(0, len(missing), CHUNK * len(kinds)):
        groups: dict[str, list[Text]] = defaultdict(list)
        for each in missing[start : start + CHUNK * len(kinds)]:
            groups[each.kind.name].append(each)
        for name, group in groups.items():  # the kind that has waited longest comes first
            if time.monotonic() > end:
                return
            begun = time.monotonic()
            _run(group[0].kind, write, group, model, str(copies), texts, name, alone)
            _say(f"written: {len(group)} of {name} in {time.monotonic() - begun:.0f} s; missing were {len(missing)}")


def _measured(folder: Path, model: ModelRef, wanted: Sequence[Text], end: float) -> list[Measured]:
    """Look at what was written; the auditor's machine is the native kind."""
    texts, measured = str(folder / "texts"), str(folder / "measured")
    here = [each for each in wanted if file_of(texts, each.number).exists()]
    missing = [each for each in here if not file_of(measured, each.number).exists()]
    files = [(each.number, str(file_of(texts, each.number)), str(file_of(measured, each.number))) for each in missing]
    if files:
        rounded = ModelRef.local(folder / "copies" / "int8")
        with fake_hardware.Worker(fake_hardware.kinds()[0]) as worker:
            for start in range(0, len(files), MEASURED):
                if start and time.monotonic() > end + 60 * LOOKING:
                    break
                worker.run(measure, files[start : start + MEASURED], model, rounded)
                _say(f"measured: {min(start + MEASURED, len(files))} of {len(files)}")
    found = (file_of(measured, each.number) for each in here)
    return [read(file) for file in found if file.exists()]


def _run(kind: fake_hardware.NumericKind, function: Callable[..., Any], *given: Any) -> None:
    with fake_hardware.Worker(kind) as worker:
        worker.run(function, *given)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
