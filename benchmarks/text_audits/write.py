"""Writing the texts of the plan, in a process of the kind that a text is of: tokens, and the largest logits of each."""

import json
import shutil
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.divergence.copies import rounded_copy
from benchmarks.text_audits.plan import Text
from crynux_validate import ModelRef, Runner, TextTask
from crynux_validate.audits.top import entries
from crynux_validate.encoding import shorten


def file_of(folder: str, number: int) -> Path:
    """Where a text is kept."""
    return Path(folder) / f"{number // 1000:04}" / f"{number:06}.npz"


def write(texts: Sequence[Text], model: ModelRef, copies: str, folder: str, kind: str) -> int:
    """Write some texts; each is kept once it is whole. Returns how many. Runs in a worker."""
    for text in texts:
        asked = text.task(model)
        task = _done_instead(text.who, asked, copies)
        result = _runner(task.model, task.dtype).run(task.replace(binding="top"))
        file = file_of(folder, text.number)
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_suffix(".part.npz")
        assert result.top is not None
        rows = np.array([entries(row) for row in result.top.rows[0]])
        tokens = np.array(result.token_ids[0], dtype=np.uint32)
        np.savez(part, kind=kind, tokens=tokens, ids=rows[..., 0].astype(np.uint32), values=rows[..., 1])
        part.replace(file)
    return len(texts)


def make_copies(model: ModelRef, folder: str) -> None:
    """Make the copies of the model that cheats use. Runs in a worker."""
    for name, bits in (("int8", 8), ("int4", 4)):
        if not (Path(folder) / name).exists():
            rounded_copy(str(model.path), f"{folder}/{name}.part", bits)
            Path(f"{folder}/{name}.part").rename(Path(folder) / name)
    if not (Path(folder) / "a block left out").exists():
        _without_last_block(str(model.path), f"{folder}/short.part")
        Path(f"{folder}/short.part").rename(Path(folder) / "a block left out")


def _without_last_block(folder: str, target: str) -> None:
    """Copy a model and leave its last block out."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(folder, target, ignore=shutil.ignore_patterns(".*"))
    config = Path(target) / "config.json"
    settings = json.loads(config.read_text(encoding="utf-8"))
    last = settings["num_hidden_layers"] - 1
    settings["num_hidden_layers"] = last
    if "layer_types" in settings:
        settings["layer_types"] = settings["layer_types"][:last]
    config.write_text(json.dumps(settings), encoding="utf-8")
    for file in Path(target).glob("*.safetensors"):
        kept = {name: weight for name, weight in load_file(file).items() if f".layers.{last}." not in name}
        save_file(kept, file, metadata={"format": "pt"})


def _done_instead(who: str, task: TextTask, copies: str) -> TextTask:
    """What the node computes."""
    if who == "temperature 1.1":
        return task.replace(temperature=1.1 * task.temperature)
    if who == "float32":
        return task.replace(dtype="float32")
    if (Path(copies) / who).exists():
        return task.replace(model=_local(f"{copies}/{who}"))
    if who != "honest":
        raise ValueError(f"no copy is called {shorten(who)}")
    return task


@lru_cache
def _local(folder: str) -> ModelRef:
    return ModelRef.local(folder)


@lru_cache
def _runner(model: ModelRef, dtype: Any) -> Runner:
    return Runner(model, "text", dtype, "cpu")
