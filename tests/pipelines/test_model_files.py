"""Which files are loaded: all that a model needs, from a folder or a hub's cache, and none that its digest lacks."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from crynux_validate.errors import ModelError
from crynux_validate.pipelines.runner import Runner
from crynux_validate.tasks import ImageTask, ModelRef, TextTask
from crynux_validate.testing import tiny_image_model, tiny_text_model

COMMIT = "1" * 40


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The small trained models, and one with a safety checker: folders of which tests hide a file for a while."""
    at = tmp_path_factory.mktemp("models")
    tiny_text_model(at / "text")
    tiny_image_model(at / "image", random=True, safety_checker=True)
    return {"text": at / "text", "image": at / "image"}


@contextmanager
def hidden(file: Path) -> Iterator[None]:
    """Take a file away for a while."""
    aside = file.with_name(f".{file.name}")
    file.rename(aside)
    try:
        yield
    finally:
        aside.rename(file)


def load(model: ModelRef, kind: str) -> None:
    if kind == "text":
        Runner(model, "text", "float32", "cpu").close()
    else:
        Runner(model, "image", "float32", "cpu", safety_checker=True).close()


def loads(model: ModelRef, kind: str) -> bool:
    try:
        load(model, kind)
    except ModelError:
        return False
    return True


def cached(monkeypatch: pytest.MonkeyPatch, folder: Path, kind: str) -> Path:
    """Make a folder the hub's cache of a repository; return the snapshot."""
    from huggingface_hub import constants

    cache = folder.parent / f"cache of {kind}"
    snapshot = cache / f"models--someone--{kind}" / "snapshots" / COMMIT
    if not snapshot.exists():
        shutil.copytree(folder, snapshot)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    return snapshot


PINNED_OPTIONS = {"README.md", "generation_config.json", "chat_template.jinja"}
"""Files that a folder may lack: its digest says so to every node."""


@pytest.mark.parametrize("kind", ["text", "image"])
def test_every_file_of_a_folder_is_needed(whole: dict[str, Path], kind: str) -> None:
    folder = whole[kind]
    files = [file for file in folder.rglob("*") if file.is_file() and not file.name.startswith(".")]
    tried = [file for file in files if file.name not in PINNED_OPTIONS]
    assert len(tried) >= 4
    for file in tried:
        with hidden(file):
            assert not loads(ModelRef.local(folder), kind), file


@pytest.mark.parametrize("kind", ["text", "image"])
def test_every_file_in_a_hubs_cache_is_needed(
    whole: dict[str, Path], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = cached(monkeypatch, whole[kind], kind)
    model = ModelRef(f"someone/{kind}", revision=COMMIT)
    load(model, kind)
    for file in snapshot.rglob("*.*"):
        if file.is_file() and not file.name.startswith(".") and file.name not in ("README.md", "chat_template.jinja"):
            with hidden(file):
                assert not loads(model, kind), file


def test_what_a_hubs_cache_knows_of_files_that_it_does_not_hold(
    whole: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = cached(monkeypatch, whole["text"], "text")
    storage = snapshot.parent.parent
    model = ModelRef("someone/text", revision=COMMIT)
    with hidden(snapshot / "generation_config.json"):
        with pytest.raises(
            ModelError, match=r"file generation_config.json.*is not in the local cache.*with a connection"
        ):
            load(model, "text")
        absent = storage / ".no_exist" / COMMIT / "generation_config.json"
        absent.parent.mkdir(parents=True)
        absent.write_text("")
        load(model, "text")
    listing = storage / "trees" / f"{COMMIT}.json"
    listing.parent.mkdir()
    names = {file.name: {"size": 1, "blob_id": "0"} for file in snapshot.iterdir()}
    listing.write_text(json.dumps({"format_version": 1, "files": names}))
    load(model, "text")
    with hidden(snapshot / "chat_template.jinja"), pytest.raises(ModelError, match=r"not hold chat_template\.jinja"):
        load(model, "text")
    shutil.rmtree(storage)


def test_a_tokenizer_of_two_files_is_whole_with_both(whole: dict[str, Path], tmp_path: Path) -> None:
    """Stable Diffusion 1.5 has no tokenizer.json."""
    folder = tmp_path / "model"
    shutil.copytree(whole["image"], folder)
    tokenizer = json.loads((folder / "tokenizer" / "tokenizer.json").read_text("utf-8"))
    (folder / "tokenizer" / "tokenizer.json").unlink()
    (folder / "tokenizer" / "vocab.json").write_text(json.dumps(tokenizer["model"]["vocab"]), "utf-8")
    with pytest.raises(ModelError, match=r"tokenizer.json or vocab.json with merges.txt is not there"):
        load(ModelRef.local(folder), "image")
    merges = "\n".join(" ".join(pair) for pair in tokenizer["model"]["merges"])
    (folder / "tokenizer" / "merges.txt").write_text(f"#version: 0.2\n{merges}\n", "utf-8")
    task = ImageTask(model=ModelRef.local(folder), prompt="a red cat", seed=7, steps=1, width=64, height=64)
    with Runner.for_task(task, "cpu") as runner:
        two: Any = runner._loaded
        found = two.pipeline.tokenizer("a red cat").input_ids
    with Runner(ModelRef.local(whole["image"]), device="cpu") as runner:
        one: Any = runner._loaded
        assert one.pipeline.tokenizer("a red cat").input_ids == found


def shards(folder: Path, stem: str, second: str) -> None:
    """Split a component's weights into two files, the second of a name that a test chooses."""
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / f"{stem}.safetensors")
    (folder / f"{stem}.safetensors").unlink()
    names = sorted(tensors)
    half = len(names) // 2
    places = {f"{stem}-00001-of-00002.safetensors": names[:half], second: names[half:]}
    for place, part in places.items():
        target = folder / place
        target.parent.mkdir(exist_ok=True)
        save_file({name: tensors[name] for name in part}, target, metadata={"format": "pt"})
    index = {"metadata": {"total_size": 1}, "weight_map": {name: at for at, part in places.items() for name in part}}
    (folder / f"{stem}.safetensors.index.json").write_text(json.dumps(index))


COMPONENTS = {
    "text": ("", "model"),
    "text_encoder": ("text_encoder", "model"),
    "unet": ("unet", "diffusion_pytorch_model"),
}


@pytest.mark.parametrize("component", COMPONENTS)
def test_weights_in_several_files(whole: dict[str, Path], component: str, tmp_path: Path) -> None:
    part, stem = COMPONENTS[component]
    kind = "text" if component == "text" else "image"
    second = f"{stem}-00002-of-00002.safetensors"
    good = tmp_path / "good"
    shutil.copytree(whole[kind], good)
    shards(good / part, stem, second)
    load(ModelRef.local(good), kind)
    with hidden(good / part / second), pytest.raises(ModelError):
        load(ModelRef.local(good), kind)
    for place in (f"../{second}", f"../../{second}", str(tmp_path / second), f".{second}", f".hidden/{second}"):
        folder = tmp_path / "bad" / "model"
        shutil.rmtree(tmp_path / "bad", ignore_errors=True)
        shutil.copytree(whole[kind], folder)
        shards(folder / part, stem, place)
        with pytest.raises(ModelError, match=r"names the file '.*', which is not one of those beside it"):
            load(ModelRef.local(folder), kind)


def setting(name: str, **changes: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / name).write_text(json.dumps(json.loads((folder / name).read_text("utf-8")) | changes), "utf-8")

    return change


def add(name: str, content: str = "{}") -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(content)

    return change


ELSEWHERE: dict[str, tuple[Callable[[Path], None], str]] = {
    "weights by name": (setting("config.json", transformers_weights=".other.safetensors"), "load other files"),
    "weights of another kind": (setting("config.json", transformers_weights="adapter_model.bin"), "load other files"),
    "another configuration": (setting("config.json", configuration_files=["config.1.0.0.json"]), "load other files"),
    "another tokenizer": (
        setting("tokenizer_config.json", fast_tokenizer_files=["../tokenizer.1.json"]),
        "other files",
    ),
    "arguments": (setting("tokenizer_config.json", init_inputs=["/elsewhere/vocab.json"]), "load other files"),
    "a vocabulary": (setting("tokenizer_config.json", vocab="/elsewhere/vocab.json"), "load other files"),
    "gguf": (setting("tokenizer_config.json", gguf_file="../model.gguf"), "load other files"),
    "a hidden template": (add("additional_chat_templates/.more.jinja", "x"), "no digest covers dot-files"),
    "a distributed checkpoint": (add("shard-00000-model-00001-of-00001.safetensors"), "of a distributed checkpoint"),
    "letters": (add("Special_Tokens_Map.json"), "some machines would load it as special_tokens_map.json"),
    "letters of weights": (add("Model.fp16.safetensors"), "some machines would load it as model.fp16.safetensors"),
    "look-alike letters": (add("added_to\u212aens.json"), "some machines would load it as added_tokens.json"),
    "an adapter": (add("adapter_config.json"), "holds an adapter"),
}


OF_NETWORKS = ("weights by name", "weights of another kind", "another configuration")


@pytest.mark.parametrize("way", ELSEWHERE)
@pytest.mark.parametrize("kind", ["text", "image"])
def test_files_that_send_libraries_elsewhere(whole: dict[str, Path], kind: str, way: str, tmp_path: Path) -> None:
    change, message = ELSEWHERE[way]
    folder = tmp_path / "model"
    shutil.copytree(whole[kind], folder)
    part = folder
    if kind == "image":
        part = folder / ("text_encoder" if way in OF_NETWORKS else "tokenizer")
    change(part)
    with pytest.raises(ModelError, match=message):
        load(ModelRef.local(folder), kind)


def test_the_name_of_a_folder_decides_nothing(
    whole: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """transformers chooses another tokenizer class for some names, as which a relative path can pass."""
    shutil.copytree(whole["text"], tmp_path / "deepseek-ai" / "deepseek-coder-tiny")
    monkeypatch.chdir(tmp_path)
    classes = set()
    for path in (whole["text"], Path("deepseek-ai/deepseek-coder-tiny")):
        with Runner(ModelRef.local(path), "text", "float32", "cpu") as runner:
            loaded: Any = runner._loaded
            assert os.path.isabs(loaded.tokenizer.name_or_path)
            classes.add((loaded.recipe["tokenizer"]["class"], loaded.recipe["tokenizer"]["digest"]))
    assert len(classes) == 1


@pytest.mark.parametrize("kind", ["text", "image"])
def test_a_folder_with_the_name_of_a_repository(
    whole: dict[str, Path], kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Libraries load what lies there, whatever the commit."""
    cached(monkeypatch, whole[kind], kind)
    shutil.copytree(whole[kind], tmp_path / "someone" / kind)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match=f"would be loaded in place of the hub's someone/{kind}; start in another"):
        load(ModelRef(f"someone/{kind}", revision=COMMIT), kind)


def test_a_file_that_changes_while_the_model_is_loaded(
    whole: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import AutoTokenizer

    folder = tmp_path / "model"
    shutil.copytree(whole["text"], folder)
    own = AutoTokenizer.from_pretrained

    def late(*args: Any, **kwargs: Any) -> Any:
        setting("config.json", rms_norm_eps=0.5)(folder)
        return own(*args, **kwargs)

    model = ModelRef.local(folder)
    monkeypatch.setattr(AutoTokenizer, "from_pretrained", late)
    with pytest.raises(ModelError, match=r"config\.json changed while the model was loaded"):
        load(model, "text")


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("kind", ["text", "image"])
def test_a_file_that_changes_after_the_model_was_loaded(
    whole: dict[str, Path], kind: str, dtype: Any, tmp_path: Path
) -> None:
    """Weights that a library only maps into memory would change with their file, after the digest was checked."""
    import torch
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "model"
    shutil.copytree(whole[kind], folder)
    for file in folder.rglob("*.safetensors"):
        tensors = {name: tensor.to(getattr(torch, dtype)) for name, tensor in load_file(file).items()}
        save_file(tensors, file, metadata={"format": "pt"})
    task: Any
    if kind == "text":
        task = TextTask(model=ModelRef.local(folder), prompt="And the king", max_new_tokens=3, dtype=dtype)
    else:
        task = ImageTask(
            model=ModelRef.local(folder), prompt="a cat", seed=7, steps=1, width=64, height=64, dtype=dtype
        )
    with Runner.for_task(task, "cpu") as runner:
        before = runner.run(task).score
        for file in folder.rglob("*.safetensors"):
            with file.open("r+b") as stream:
                stream.write(bytes(file.stat().st_size))
        assert runner.run(task).score == before
