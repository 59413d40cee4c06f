"""Looking at texts with the reference, as an audit does, without stopping: what bands are made from and tested on."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from benchmarks.text_audits.plan import AT_ONCE, HONEST, Text, text
from crynux_validate import ModelRef, TextTask, deterministic
from crynux_validate.audits.bands import installed
from crynux_validate.calibration.audits.records import Origin, TextRecord
from crynux_validate.tasks import Dtype

MOST: Final = 2.0
"""The largest margin that is told from larger ones; every band's clip is less."""

AUDITOR: Final = "native"
"""The kind of machine that looks at texts."""

WRONG_SEED: Final = "wrong seed"
SECOND: Final = {"temperature 1.1": "hotter", "int8": "int8 weights"}
"""For a cheat the second hypothesis that knows it."""
FIRST: Final = 40
"""How many tokens of a wrong seed are looked at: nearly all of them have margins, which take long to find."""
HYPOTHESES: Final = (WRONG_SEED, *SECOND.values())
"""What is asked of texts besides their own task: another seed, a temperature 1.1 times as high, rounded weights."""

Float64s = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Measured:
    """One text: who wrote it and how, the margin of each token, and the logarithm of how far each row is off.

    `others` are the margins under the `HYPOTHESES`; a wrong seed is looked at in honest texts alone: it is the cheat
    whose text an honest node with another seed writes.
    """

    text: Text
    kind: str
    margins: Float64s
    rows: Float64s
    others: dict[str, Float64s]

    @property
    def machine(self) -> str:
        """The kind of machine, however many texts it wrote at once."""
        return self.kind.removesuffix(AT_ONCE)

    def record(self, model: str) -> TextRecord:
        """What the calibration takes of it. Texts that a machine wrote one by one and at once are left out together."""
        dtype, thing = self.text.way.split(",")[0], (self.text.number,)
        origin = Origin(
            f"text {self.text.number}", dtype, model, thing, self.text.half, self.machine, AUDITOR, installed()
        )
        return TextRecord(origin, self.margins, self.rows)


def measure(files: list[tuple[int, str, str]], model: ModelRef, rounded: ModelRef) -> int:
    """Measure some texts: number, file, and the file to write. Runs in a worker."""
    for number, file, target in files:
        with np.load(file) as written:
            kind, tokens = str(written["kind"]), written["tokens"].tolist()
            bound = [list(zip(*row, strict=True)) for row in zip(written["ids"], written["values"], strict=True)]
        found = _measured(text(number), model, rounded, tokens, bound)
        part = Path(target).with_suffix(".part.npz")
        part.parent.mkdir(parents=True, exist_ok=True)
        arrays: dict[str, Any] = {"kind": kind, **found}
        np.savez(part, **arrays)
        part.replace(target)
    return len(files)


def read(file: Path) -> Measured:
    """Read what `measure` wrote."""
    with np.load(file) as found:
        others = {name: found[name] for name in HYPOTHESES if name in found}
        return Measured(text(int(file.stem)), str(found["kind"]), found["margins"], found["rows"], others)


def _measured(
    what: Text, model: ModelRef, rounded: ModelRef, tokens: list[int], bound: list[Any]
) -> dict[str, Float64s]:
    from crynux_validate.pipelines.text import reference
    from crynux_validate.pipelines.text.audit import row_distance
    from crynux_validate.pipelines.text.margins import Margins
    from crynux_validate.pipelines.text.prompts import input_ids

    task = what.task(model)
    asked = {"margins": task, **_hypotheses(what, task)}
    found = {name: np.zeros(len(tokens)) for name in (*asked, "rows")}
    with deterministic():
        loaded = _reference(model, task.dtype)
        prompt = input_ids(loaded, task)
        seen = np.array([*prompt, *tokens])
        looking = {name: Margins(one, 0) for name, one in asked.items()}
        for step, logits in enumerate(reference.rows(loaded, prompt, tokens)):
            for name, margins in looking.items():
                if name == WRONG_SEED and step >= FIRST:
                    continue
                before = seen[: len(prompt) + step]
                found[name][step] = margins.of(logits, before, step, tokens[step], MOST)
            found["rows"][step] = np.log(max(1e-9, row_distance(bound[step], logits)))
        if what.asked and what.who in (HONEST, "int8") and what.way in ("bfloat16, sampled", "float16, sampled"):
            margins, name = Margins(task, 0), SECOND["int8"]
            found[name] = np.zeros(len(tokens))
            for step, logits in enumerate(reference.rows(_reference(rounded, task.dtype), prompt, tokens)):
                before = seen[: len(prompt) + step]
                found[name][step] = margins.of(logits, before, step, tokens[step], MOST)
    return found


def _hypotheses(what: Text, task: TextTask) -> dict[str, TextTask]:
    if not what.asked or not task.do_sample or what.who not in (HONEST, "temperature 1.1"):
        return {}
    hotter, seed = task.replace(temperature=1.1 * task.temperature), task.replace(seed=task.seed + 500_000)
    asked = {SECOND["temperature 1.1"]: hotter}
    return {**asked, WRONG_SEED: seed} if what.who == HONEST else asked


_REFERENCES: dict[tuple[ModelRef, Dtype], Any] = {}


def _reference(model: ModelRef, dtype: Dtype) -> Any:
    import torch

    from crynux_validate.pipelines.text import reference

    if (model, dtype) not in _REFERENCES:
        _REFERENCES[model, dtype] = reference.load(model, dtype, torch.device("cpu"))
    return _REFERENCES[model, dtype]
