"""Writing the texts of the plan, in a process of the kind that a text is of: tokens, and the largest logits of each.

Most are written many at once, which costs a fraction and is a kind of machine of its own: products of more rows round
in another way.
"""

import json
import shutil
from collections import defaultdict
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.divergence.copies import rounded_copy
from benchmarks.text_audits.plan import AT_ONCE, Text
from crynux_validate import ModelRef, Runner, TextTask, deterministic
from crynux_validate.audits.top import entries
from crynux_validate.encoding import shorten
from crynux_validate.tasks import Dtype


def file_of(folder: str, number: int) -> Path:
    """Where a text is kept."""
    return Path(folder) / f"{number // 1000:04}" / f"{number:06}.npz"


def write(texts: Sequence[Text], model: ModelRef, copies: str, folder: str, kind: str, alone: int) -> int:
    """Write some texts; each is kept once it is whole. Returns how many. Runs in a worker.

    Those with numbers less than `alone` are written one by one, by a `Runner`; the others many at once.
    """
    groups: dict[tuple[ModelRef, Dtype], list[tuple[Text, TextTask]]] = defaultdict(list)
    for text in texts:
        task = _done_instead(text.who, text.task(model), copies)
        if text.number < alone:
            result = _runner(task.model, task.dtype).run(task.replace(binding="top"))
            assert result.top is not None
            _keep(file_of(folder, text.number), kind, result.token_ids[0], result.top.rows[0])
        else:
            groups[task.model, task.dtype].append((text, task))
    for (source, dtype), group in groups.items():
        from benchmarks.text_audits.together import together

        with deterministic():
            found = together(_loaded(source, dtype), [task for _, task in group])
        for (text, _), (tokens, rows) in zip(group, found, strict=True):
            _keep(file_of(folder, text.number), f"{kind}{AT_ONCE}", tokens, rows)
    return len(texts)


def _keep(file: Path, kind: str, tokens: Sequence[int], rows: Sequence[bytes]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_suffix(".part.npz")
    bound = np.array([entries(row) for row in rows])
    ids, values = bound[..., 0].astype(np.uint32), bound[..., 1]
    np.savez(part, kind=kind, tokens=np.array(tokens, dtype=np.uint32), ids=ids, values=values)
    part.replace(file)


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
def _runner(model: ModelRef, dtype: Dtype) -> Runner:
    return Runner(model, "text", dtype, "cpu")


@lru_cache
def _loaded(model: ModelRef, dtype: Dtype) -> Any:
    import torch

    from crynux_validate.pipelines.text import models

    return models.load(model, dtype, torch.device("cpu"))
