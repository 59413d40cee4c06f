"""A configuration that asks for more than its files hold is refused before it takes memory."""

import json
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("diffusers")
pytest.importorskip("transformers")

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from crynux_validate.errors import ModelError
from crynux_validate.pipelines.models import weights
from crynux_validate.pipelines.models.weights import Held, check_counts, check_fits, held, weight_files
from crynux_validate.pipelines.runner import Runner
from crynux_validate.tasks import ControlNet, ImageTask, ModelRef, TextTask
from crynux_validate.testing import (
    tiny_controlnet,
    tiny_flow_model,
    tiny_sdxl_model,
    tiny_text_model,
    tiny_vision_model,
)
from tests.pipelines.given_pictures import RAMP

MEBI = 1 << 20
MOST = 300 * MEBI
"""How much memory a refusal may take; what is refused here would take gigabytes."""


def status(name: str) -> int:
    lines = Path("/proc/self/status").read_text("ascii").splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(name))


@contextmanager
def little_memory() -> Iterator[None]:
    """Linux tells the most memory that a process had since it was last asked to begin anew."""
    if sys.platform != "linux":
        yield
        return
    Path("/proc/self/clear_refs").write_text("5", "ascii")
    before = status("VmRSS")
    yield
    assert status("VmHWM") - before < MOST


def refused(task: TextTask | ImageTask, message: str) -> None:
    with little_memory(), pytest.raises(ModelError, match=message):
        Runner.for_task(task, "cpu").close()


@contextmanager
def changed(file: Path, change: Any) -> Iterator[None]:
    """Change some settings for a while."""
    before = file.read_text("utf-8")
    settings = json.loads(before)
    settings = change(settings) if callable(change) else settings | change
    file.write_text(json.dumps(settings), "utf-8")
    try:
        yield
    finally:
        file.write_text(before, "utf-8")


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(str(tiny_text_model(tmp_path_factory.mktemp("text") / "model").path))


def vision(settings: dict[str, Any]) -> dict[str, Any]:
    return settings | {
        "vision_config": settings["vision_config"] | {"hidden_size": 1 << 15, "intermediate_size": 1 << 17}
    }


ASKS = (
    r"the model in .*: config.json asks for \d+ weights, and the files hold \d+; the first .* is '.*' of shape \[.*\], "
)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"intermediate_size": 1 << 24}, f"{ASKS}which is \\["),
        ({"vocab_size": 1 << 26}, ASKS),
        ({"num_hidden_layers": 100, "hidden_size": 4160}, ASKS),
        ({"num_hidden_layers": 90_000}, r"asks for more than \d+ layers and weights, and the files hold \d+ weights"),
        ({"num_hidden_layers": 10**12}, "'num_hidden_layers' 1000000000000, which is no number of layers or labels"),
        ({"num_labels": 10**9}, "'num_labels' 1000000000, which is no number"),
        ({"model_type": "qwen2", "num_hidden_layers": 10**10}, "'num_hidden_layers' 10000000000"),
        ({"model_type": "qwen3_moe", "num_experts": 1 << 16}, ASKS),
        ({"model_type": "gpt_neo", "attention_types": [[["global"], 10**9]]}, "'attention_types' 1000000000"),
        (
            {
                "model_type": "gpt_neo",
                "attention_types": [[["global"], 1]],
                "num_layers": 1,
                "num_hidden_layers": 1,
                "max_position_embeddings": 1 << 16,
                "hidden_size": 4,
                "num_heads": 1,
                "num_attention_heads": 1,
            },
            "bytes that no file holds",
        ),
        ({"model_type": "mamba", "state_size": 1 << 16, "hidden_size": 1 << 13, "num_hidden_layers": 8}, ASKS),
        ({"quantization_config": {"quant_method": "fp8"}, "intermediate_size": 1 << 24}, ASKS),
        ({"quantization_config": {"quant_method": "mxfp4"}, "intermediate_size": 1 << 24}, ASKS),
    ],
    ids=lambda value: getattr(value, "__name__", None) or str(value),
)
def test_a_language_model_that_asks_for_more(text: Path, change: dict[str, Any], message: str) -> None:
    with changed(text / "config.json", change):
        task = TextTask(model=ModelRef.local(text), prompt="and", max_new_tokens=1, dtype="float32")
        refused(task, message)


def test_a_default_vision_language_model_beside_a_tiny_file(text: Path) -> None:
    """Its configuration is eleven letters long, and it would have 11 billion weights."""
    with changed(text / "config.json", lambda _: {"model_type": "mllama"}):
        refused(TextTask(model=ModelRef.local(text), prompt="and", max_new_tokens=1, dtype="float32"), ".")


@pytest.mark.parametrize("kind", ["llava", "qwen2_vl"])
def test_a_model_that_sees(kind: Any, tmp_path: Path) -> None:
    folder = Path(str(tiny_vision_model(tmp_path / "model", kind=kind).path))
    with changed(folder / "config.json", vision):
        refused(TextTask(model=ModelRef.local(folder), prompt="and", max_new_tokens=1, dtype="float32"), ASKS)


WIDE_UNET = {"block_out_channels": [1 << 13, 1 << 13]}
WIDE_ENCODER = {"intermediate_size": 1 << 22}


def drawn(folder: Path, **more: Any) -> ImageTask:
    return ImageTask(model=ModelRef.local(folder), prompt="a cat", seed=1, steps=1, width=64, height=64, **more)


def asks(part: str) -> str:
    return f"{part} .*config.json (asks for|has)"


@pytest.fixture(scope="module")
def sd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from crynux_validate.testing import tiny_image_model

    return Path(str(tiny_image_model(tmp_path_factory.mktemp("sd") / "model", random=True, safety_checker=True).path))


def wide(settings: dict[str, Any]) -> dict[str, Any]:
    """Of any network of diffusers: its channels, or its layers and heads, or its inputs."""
    if "block_out_channels" in settings:
        return settings | {"block_out_channels": [1 << 13 for _ in settings["block_out_channels"]]}
    grown = {"attention_head_dim", "joint_attention_dim", "pooled_projection_dim", "dim", "cap_feat_dim", "n_layers"}
    return settings | dict.fromkeys(grown & settings.keys(), 1 << 12)


@pytest.mark.parametrize(
    ("part", "change"),
    [
        ("unet", wide), ("unet", {"layers_per_block": 90_000}), ("unet", {"layers_per_block": 10**9}),
        ("unet", {"cross_attention_dim": 1 << 24}), ("vae", wide), ("vae", {"layers_per_block": 90_000}),
        ("text_encoder", WIDE_ENCODER), ("text_encoder", {"num_hidden_layers": 10**9}),
        ("text_encoder", {"max_position_embeddings": 1 << 26}), ("text_encoder", {"vocab_size": 1 << 26}),
        ("safety_checker", vision),
    ],
    ids=lambda value: getattr(value, "__name__", None) or str(value),
)  # fmt: skip
def test_a_network_of_a_pipeline_that_asks_for_more(sd: Path, part: str, change: Any) -> None:
    with changed(sd / part / "config.json", change):
        refused(drawn(sd, safety_checker=part == "safety_checker"), asks(part))


@pytest.mark.parametrize("part", ["unet", "vae"])
def test_a_part_that_asks_for_more(sd: Path, part: str, tmp_path: Path) -> None:
    shutil.copytree(sd / part, tmp_path / part)
    with changed(tmp_path / part / "config.json", wide):
        refused(drawn(sd, **{part: ModelRef.local(tmp_path / part)}), asks(part))


def test_a_controlnet_that_asks_for_more(sd: Path, tmp_path: Path) -> None:
    net = tiny_controlnet(tmp_path / "net", ModelRef.local(sd))
    with changed(Path(str(net.path)) / "config.json", {"conditioning_embedding_out_channels": [1 << 13] * 4}):
        refused(drawn(sd, controlnet=ControlNet(ModelRef.local(str(net.path)), RAMP)), asks("controlnet"))


@pytest.mark.parametrize("family", ["sdxl", "sd3", "flux", "z-image"])
def test_every_network_of_every_family(family: Any, tmp_path: Path) -> None:
    made = tiny_sdxl_model(tmp_path / "model") if family == "sdxl" else tiny_flow_model(tmp_path / "model", family)
    folder = Path(str(made.path))
    parts = sorted(file.parent.name for file in folder.glob("*/config.json"))
    assert len(parts) >= 3
    for part in parts:
        known = json.loads((folder / part / "config.json").read_text("utf-8"))
        grown = {name: 1 << 20 for name in ("intermediate_size", "d_ff") if name in known}
        with changed(folder / part / "config.json", grown or wide):
            refused(drawn(folder), asks(part))


# ------------------------------------------------------------------------------------------------ the headers


def test_what_files_hold(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(2, 3), "b": torch.zeros(8, dtype=torch.uint8)}, tmp_path / "model.safetensors")
    found = held("it", "here", weight_files(tmp_path, None))
    assert found == Held({"a": (2, 3), "b": (8,)}, 6 + 2 * 8), "a byte of integers may hold two weights"
    assert held("it", "here", weight_files(tmp_path, "fp16")) == Held({}, 0)


def test_files_in_parts(tmp_path: Path) -> None:
    shards = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    for name, file in shards.items():
        save_file({name: torch.zeros(4)}, tmp_path / file)
    save_file({"c": torch.zeros(4)}, tmp_path / "another.safetensors")
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}), "utf-8")
    assert held("it", "here", weight_files(tmp_path, None)).shapes == {"a": (4,), "b": (4,)}
    assert weight_files(tmp_path, "fp16") == []


def test_a_header_cannot_say_more_than_the_file_holds(tmp_path: Path) -> None:
    header = json.dumps({"a": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}}).encode()
    (tmp_path / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(64))
    with pytest.raises(ModelError, match="it in here cannot be loaded"):
        held("it", "here", weight_files(tmp_path, None))


class Tied(nn.Module):
    """Two layers of one weight, a table that is made anew, and a module that a file need not hold."""

    _keys_to_ignore_on_load_missing = ("positions",)

    def __init__(self, ties: bool) -> None:
        super().__init__()
        self.ties = ties
        self.inputs, self.outputs = nn.Linear(10, 10, bias=False), nn.Linear(10, 10, bias=False)
        self.positions = nn.Embedding(30, 1)

    def tie_weights(self) -> None:
        if self.ties:
            self.outputs.weight = self.inputs.weight


def test_tied_weights_count_once_and_those_that_are_made_anew_do_not(tmp_path: Path) -> None:
    shapes = {"inputs.weight": (10, 10)}
    check_fits("it", tmp_path, Tied(ties=True), Held(shapes, 100))
    with pytest.raises(ModelError, match=r"asks for 200 weights, and the files hold 100; .* 'outputs.weight' of shape"):
        check_fits("it", tmp_path, Tied(ties=False), Held(shapes, 100))


def test_weights_of_other_names_fit(tmp_path: Path) -> None:
    check_fits("it", tmp_path, Tied(ties=False), Held({"one": (100,), "two": (10, 10)}, 200))


def test_settings_that_are_no_counts_may_be_large() -> None:
    check_counts("it", "here", {"rope_theta": 10**9, "max_position_embeddings": 10**7, "layer_norm_eps": 1e9, "a": [1]})
    with pytest.raises(ModelError, match=r"it in here: config.json has 'text_config.num_hidden_layers' 200000, which"):
        check_counts("it", "here", {"text_config": {"num_hidden_layers": 200_000}})


def test_what_was_found_right_is_not_built_again(text: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = TextTask(model=ModelRef.local(text), prompt="and", max_new_tokens=1, dtype="float32")
    Runner.for_task(task, "cpu").close()
    built: list[str] = []
    check: Callable[..., None] = weights.check_fits

    def noted(*given: Any) -> None:
        built.append(given[0])
        check(*given)

    monkeypatch.setattr(weights, "check_fits", noted)
    Runner.for_task(task, "cpu").close()
    assert not built
    tensors = load_file(text / "model.safetensors")
    save_file(tensors | {"more": torch.zeros(1)}, text / "model.safetensors", metadata={"format": "pt"})
    Runner.for_task(task.replace(model=ModelRef.local(text)), "cpu").close()
    assert built == ["the model"], "other files are looked at anew"
