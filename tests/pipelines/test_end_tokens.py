"""The tokens that end a sequence: the model's own files name them, in a fixed order (protocol T1)."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from crynux_validate.errors import ModelError
from crynux_validate.pipelines.text.end_tokens import end_tokens
from crynux_validate.tasks import ModelRef
from tests.pipelines.test_text_models import edit, write


@pytest.fixture
def copied(text_model: ModelRef, tmp_path: Path) -> Path:
    """A folder that a test may change."""
    folder = tmp_path / "copy"
    shutil.copytree(str(text_model.path), folder)
    return folder


def name_end(folder: Path, generation: Any, config: Any, tokenizer: str | None = "<|end|>", part: Any = None) -> None:
    """Name the end tokens of a folder; None leaves the name out."""

    def change(value: dict[str, Any], end: Any) -> None:
        value.pop("eos_token_id", None)
        value.update({} if end is None else {"eos_token_id": end})

    edit(folder / "generation_config.json", lambda value: change(value, generation))
    edit(folder / "config.json", lambda value: change(value, config))
    edit(folder / "config.json", lambda value: value.update({} if part is None else {"text_config": part}))
    edit(folder / "tokenizer_config.json", lambda value: value.update(eos_token=tokenizer))


def ends(folder: Path) -> dict[str, Any]:
    """The end tokens that a run on a folder takes, by the recipe; nothing is loaded but the tokenizer."""
    model = ModelRef.local(folder)
    source = {"pretrained_model_name_or_path": str(folder)}
    return end_tokens(model, source, AutoTokenizer.from_pretrained(folder)).to_dict()


def test_end_tokens_come_from_the_first_who_names_any(copied: Path) -> None:
    end = AutoTokenizer.from_pretrained(copied).convert_tokens_to_ids("<|end|>")
    for generation, config, tokenizer, part, expected in (
        ([7, 5], 3, "<|end|>", None, {"from": "generation_config.json", "ids": [5, 7]}),
        (7, [3], "<|end|>", None, {"from": "generation_config.json", "ids": [7]}),
        ([], 3, "<|end|>", None, {"from": "generation_config.json", "ids": []}),
        (None, [4, 3], "<|end|>", None, {"from": "config.json", "ids": [3, 4]}),
        (None, None, "<|end|>", {"eos_token_id": 9}, {"from": "config.json", "ids": [9]}),
        (None, 3, "<|end|>", {"eos_token_id": 9}, {"from": "config.json", "ids": [3]}),
        (None, None, "<|end|>", None, {"from": "tokenizer", "ids": [end]}),
        (None, None, None, None, {"from": "nobody", "ids": []}),
    ):
        edit(copied / "config.json", lambda value: value.pop("text_config", None))
        name_end(copied, generation, config, tokenizer, part)
        assert ends(copied) == expected
    (copied / "generation_config.json").unlink()
    edit(copied / "config.json", lambda value: value.update(eos_token_id=3))
    assert ends(copied) == {"from": "config.json", "ids": [3]}


def test_a_model_that_lists_several_ends_stops_at_each(copied: Path) -> None:
    """Chat models end a turn with one token and a text with another; a run that knows one only goes on and on."""
    free = write(copied, max_new_tokens=12).token_ids[0]
    name_end(copied, [1, free[4]], 1)
    ended = write(copied, max_new_tokens=12)
    assert (ended.finish, ended.token_ids[0]) == (("end",), free[: free.index(free[4]) + 1])
    assert (ended.environment.recipe or {})["end_tokens"] == {
        "from": "generation_config.json",
        "ids": sorted({1, free[4]}),
    }


@pytest.mark.parametrize("end", ["<|end|>", [1, "2"], [True], -1, 1.0, {"id": 1}])
def test_end_tokens_that_are_none(copied: Path, end: Any) -> None:
    name_end(copied, end, 3)
    with pytest.raises(ModelError, match=r"generation_config.json of .* has eos_token_id .*; expected a token id or a"):
        ends(copied)


@pytest.mark.parametrize("content", ["{", "[1]", "\xff", " " * 1_100_000])
def test_a_damaged_file_of_end_tokens(copied: Path, content: str) -> None:
    (copied / "generation_config.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(ModelError, match=r"generation_config.json of .*(cannot be read|holds no JSON object)"):
        ends(copied)


def test_a_cache_that_cannot_say_whether_a_repository_names_ends(
    monkeypatch: pytest.MonkeyPatch, text_model: ModelRef, tmp_path: Path
) -> None:
    """One node would take the list of the file, and one that lacks the file the tokenizer's token."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    at = tmp_path / "models--someone--tiny"
    shutil.copytree(str(text_model.path), at / "snapshots" / ("1" * 40))
    model = ModelRef("someone/tiny", revision="1" * 40)
    source = {"pretrained_model_name_or_path": "someone/tiny", "revision": "1" * 40}
    tokenizer = AutoTokenizer.from_pretrained(str(text_model.path))
    assert end_tokens(model, source, tokenizer).source == "generation_config.json"
    (at / "snapshots" / ("1" * 40) / "generation_config.json").unlink()
    with pytest.raises(ModelError, match=r"the file generation_config.json of .* is not in the local cache"):
        end_tokens(model, source, tokenizer)
    # A whole download leaves the list of all files.
    (at / "trees").mkdir()
    for listed, known in ((["config.json"], True), (["config.json", "generation_config.json"], False)):
        (at / "trees" / f"{'1' * 40}.json").write_text(json.dumps({"files": {name: {} for name in listed}}))
        if known:
            assert end_tokens(model, source, tokenizer).source == "config.json"
        else:
            with pytest.raises(ModelError, match="is not in the local cache"):
                end_tokens(model, source, tokenizer)
    (at / "trees" / f"{'1' * 40}.json").unlink()
    (at / ".no_exist" / ("1" * 40)).mkdir(parents=True)
    (at / ".no_exist" / ("1" * 40) / "generation_config.json").touch()
    assert end_tokens(model, source, tokenizer).source == "config.json"
