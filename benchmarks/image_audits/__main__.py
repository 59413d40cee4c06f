"""Measure bands and cheats; it goes on where it was stopped, and writes the file of bands when all is there."""

import argparse
import hashlib
import json
import pickle
import platform
import tempfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import crynux_validate as cv
from benchmarks.image_audits import work
from crynux_validate.audits.bands import PARTS, SCHEMA
from crynux_validate.files import write_whole
from crynux_validate.schedulers import SCHEDULERS
from crynux_validate.testing import tiny_image_model
from crynux_validate.testing.fake_hardware import Worker
from crynux_validate.testing.kinds import gpu_kinds, kinds

BANDS: Final = Path(cv.__file__).parent / "audits" / "bands.json"
MARGINS: Final = {"float32": dict.fromkeys(PARTS, 20.0) | {"peak": 3.0}}
"""A band is so many times the largest distance of honest machines. A dtype that is not here gets no bands."""
PROMPTS: Final = (
    "a big blue star on sand",
    "a small red circle on snow",
    "a green triangle on the night sky",
    "a yellow heart on grass",
)
CHEATS: Final = (
    "guidance-7", "guidance-5", "other-seed", "other-prompt", "int8-weights", "int4-weights", "bfloat16",
    "reused-predictions", "half-the-steps",
)  # fmt: skip
"""Of `attacks`; those that make no picture of their own have no trace."""

AUDITORS_OF_CHEATS: Final = ("native", "oldest", "ampere")

Case = tuple[cv.ImageTask, str | None]


def cases(model: cv.ModelRef, dtype: str, prompts: int, schedulers: list[str]) -> Iterator[Case]:
    """Honest runs with every scheduler, and each cheat with DDIM."""
    asked: dict[str, Any] = {"model": model, "width": 128, "height": 128, "dtype": dtype, "binding": "trace"}
    for at, prompt in enumerate(PROMPTS[:prompts]):
        task = cv.ImageTask(prompt=prompt, seed=at, steps=20, **asked)
        yield task, None
        yield from ((task, cheat) for cheat in CHEATS if cheat != dtype)
    for scheduler in schedulers:
        if scheduler != "DDIMScheduler":
            yield cv.ImageTask(prompt=PROMPTS[0], seed=7, steps=6, scheduler=scheduler, **asked), None


class Record:
    """One line for each audit, appended; what is there is not measured again."""

    def __init__(self, path: Path) -> None:
        self._path = path
        lines = path.read_text("utf-8").splitlines() if path.exists() else []
        self.rows: list[dict[str, Any]] = [json.loads(line) for line in lines]
        self._known = {self._key(row) for row in self.rows}

    @staticmethod
    def _key(row: dict[str, Any]) -> tuple[Any, ...]:
        return tuple(row[name] for name in ("dtype", "scheduler", "prompt", "cheat", "node", "auditor"))

    def has(self, row: dict[str, Any]) -> bool:
        """Whether it was measured."""
        return self._key(row) in self._known

    def add(self, row: dict[str, Any]) -> None:
        """Keep a row."""
        self.rows.append(row)
        self._known.add(self._key(row))
        with self._path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(row) + "\n")

    def drawn(self, row: dict[str, Any], worker: Worker, case: Case) -> tuple[bytes, bytes]:
        """What a kind drew, from the folder beside the record; drawn now where it is not there."""
        folder = self._path.with_suffix(".drawn")
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / hashlib.sha256(json.dumps(row, sort_keys=True).encode()).hexdigest()
        if not path.exists():
            answer, proof = worker.run(work.draw, *case)
            write_whole(path, pickle.dumps((answer, proof)))
        found: tuple[bytes, bytes] = pickle.loads(path.read_bytes())
        return found


def main() -> None:
    """Measure what is missing, print the tables, write the bands."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.image_audits", description=__doc__)
    parser.add_argument("--record", type=Path, default=Path("audits.jsonl"))
    parser.add_argument("--dtypes", nargs="*", default=["float32"])
    parser.add_argument("--kinds", nargs="*", default=[kind.name for kind in kinds()])
    parser.add_argument("--prompts", type=int, default=len(PROMPTS), help="how many prompts with DDIM")
    parser.add_argument("--schedulers", nargs="*", default=list(SCHEDULERS), help="besides DDIM")
    parser.add_argument("--write", action="store_true", help="write the file of bands")
    options = parser.parse_args()
    record = Record(options.record)
    with tempfile.TemporaryDirectory() as folder:
        model = tiny_image_model(Path(folder) / "model")
        for dtype in options.dtypes:
            fill(record, list(cases(model, dtype, options.prompts, options.schedulers)), options.kinds)
    tables(record)
    if options.write:
        BANDS.write_text(bands(record), encoding="utf-8")


def fill(record: Record, planned: list[Case], names: list[str]) -> None:
    """Let every kind draw, and every kind audit what all have drawn."""
    found = [kind for kind in [*kinds(), *gpu_kinds()] if kind.name in names]
    drawn: dict[tuple[int, str], tuple[bytes, bytes]] = {}
    missing = [
        (at, node.name, auditor.name)
        for at, (task, cheat) in enumerate(planned)
        for node in found
        for auditor in found
        if (cheat is None or (node.name == "native" and auditor.name in AUDITORS_OF_CHEATS))
        and not record.has(row_of(task, cheat, node.name, auditor.name))
    ]
    for kind in found:
        wanted = {at for at, node, _ in missing if node == kind.name}
        if wanted:
            with Worker(kind) as worker:
                for at in sorted(wanted):
                    drawn[at, kind.name] = record.drawn(row_of(*planned[at], kind.name, ""), worker, planned[at])
            print(f"{kind.name} drew {len(wanted)} pictures", flush=True)
    for kind in found:
        rows = [(at, node) for at, node, auditor in missing if auditor == kind.name]
        if rows:
            with Worker(kind) as worker:
                for at, node in rows:
                    task, cheat = planned[at]
                    result = worker.run(work.check, task, *drawn[at, node])
                    record.add({**row_of(task, cheat, node, kind.name), **result})
            print(f"{kind.name} audited {len(rows)} pictures", flush=True)


def row_of(task: cv.ImageTask, cheat: str | None, node: str, auditor: str) -> dict[str, Any]:
    """What tells one audit from others."""
    named = {"dtype": task.dtype, "scheduler": task.scheduler, "prompt": task.prompt}
    return {**named, "cheat": cheat, "node": node, "auditor": auditor}


def tables(record: Record) -> None:
    """Print what honest machines and cheats come to."""
    print("| dtype | who | scheduler | audits | steps | equal | prediction, least to most | latent | picture |")
    print("|---|---|---|---|---|---|---|---|---|")
    groups: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for row in record.rows:
        who = row["cheat"] or ("honest, same kind" if row["node"] == row["auditor"] else "honest, other kind")
        groups.setdefault((row["dtype"], who, row["scheduler"]), []).append(row)
    for (dtype, who, scheduler), rows in groups.items():
        steps = [step for row in rows for step in row["steps"]]
        low, high = min(step["prediction"] for step in steps), max(step["prediction"] for step in steps)
        latent, picture = max(step["latent"] for step in steps), max(row["picture"] for row in rows)
        equal = sum(row["equal"] for row in rows)
        numbers = f"{low:.1e} to {high:.1e} | {latent:.1e} | {picture:.2g}"
        print(f"| {dtype} | {who} | {scheduler} | {len(rows)} | {len(steps)} | {equal} | {numbers} |")


def bands(record: Record) -> str:
    """Return the file of bands: for each pair of kinds the largest distance of honest runs."""
    found: dict[tuple[str, str, str, str], dict[str, Any]] = {}
    for row in record.rows:
        if row["cheat"] is not None or row["node"] == row["auditor"] or row["dtype"] not in MARGINS:
            continue  # two machines of one kind have equal bits: that is no band
        pair = sorted((row["node"], row["auditor"]))
        band = found.setdefault((row["dtype"], row["scheduler"], *pair), dict.fromkeys(PARTS, 0.0) | {"steps": 0})
        for part in ("prediction", "latent", "guidance", "reuse"):
            band[part] = max(band[part], *(abs(step[part] or 0) for step in row["steps"]))
        for part in ("picture", "peak"):
            band[part] = max(band[part], row[part])
        band["steps"] += len(row["steps"])
    rows = [
        {"dtype": dtype, "scheduler": scheduler, "kinds": [a, b], **band}
        for (dtype, scheduler, a, b), band in sorted(found.items())
    ]
    packages = ("torch", "diffusers", "transformers", "numpy")
    versions = {"crynux_validate": cv.__version__, **{name: version(name) for name in packages}}
    head = {
        "schema": SCHEMA,
        "made_from": "the shipped Stable Diffusion in 128x128, prompts with DDIM and one with each other scheduler, "
        "processes that compute like other processors "
        f"(fake_hardware.kinds()) on {platform.machine()}",
        "versions": versions,
        "margins": MARGINS,
    }
    return json.dumps({**head, "bands": rows}, indent=1) + "\n"


if __name__ == "__main__":
    main()
