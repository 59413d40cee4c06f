"""Checkpoints of FP8 and MXFP4: what their weights stand for, bit for bit as transformers widens them, or refused."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

import crynux_validate as cv
from crynux_validate import ModelRef, Runner, TextTask
from crynux_validate.errors import ModelError
from crynux_validate.pipelines.text.models import LoadedText
from crynux_validate.pipelines.text.stored import widened_fp8, widened_mxfp4

_transformers: Any = transformers
ASKED = [{"role": "user", "content": "what is the sea?"}]
E2M1 = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
BLOCK = (64, 32)
DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def small_fp8(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Round a weight to FP8 by blocks, as makers of checkpoints do."""
    rows, columns = weight.shape
    tall, wide = -(-rows // BLOCK[0]), -(-columns // BLOCK[1])
    scales = torch.empty(tall, wide)
    found = torch.empty(rows, columns, dtype=torch.float8_e4m3fn)
    for i in range(tall):
        for j in range(wide):
            place = slice(i * BLOCK[0], (i + 1) * BLOCK[0]), slice(j * BLOCK[1], (j + 1) * BLOCK[1])
            scales[i, j] = weight[place].abs().max().float() / 448
            found[place] = (weight[place].float() / scales[i, j]).to(torch.float8_e4m3fn)
    return found, scales


def edit(file: Path, **changes: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


@pytest.fixture(scope="module")
def fp8(text_model: ModelRef, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The random Llama with the weights of its layers in FP8, as repositories of such models are."""
    folder = tmp_path_factory.mktemp("fp8") / "model"
    shutil.copytree(str(text_model.path), folder)
    state: dict[str, torch.Tensor] = {}
    for name, tensor in load_file(folder / "model.safetensors").items():
        if name.endswith("proj.weight"):
            state[name], state[f"{name}_scale_inv"] = small_fp8(tensor)
        else:
            state[name] = tensor
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    settings = {"quant_method": "fp8", "weight_block_size": list(BLOCK), "activation_scheme": "dynamic",
                "modules_to_not_convert": ["lm_head"]}  # fmt: skip
    edit(folder / "config.json", quantization_config=settings)
    return folder


@pytest.fixture(scope="module")
def mxfp4(text_model: ModelRef, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A gpt-oss of random weights, its experts in MXFP4."""
    folder = tmp_path_factory.mktemp("mxfp4") / "model"
    shutil.copytree(str(text_model.path), folder)
    words = json.loads((folder / "config.json").read_text())["vocab_size"]
    config = _transformers.GptOssConfig(
        vocab_size=words, hidden_size=64, intermediate_size=32, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=16, num_local_experts=4, num_experts_per_tok=2, max_position_embeddings=256,
        sliding_window=32, eos_token_id=1, pad_token_id=None,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model = _transformers.GptOssForCausalLM(config).to(torch.bfloat16)
    state = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    numbers = np.random.default_rng(5)
    for name in [name for name in state if name.endswith(("gate_up_proj", "down_proj"))]:
        experts, inputs, outputs = state.pop(name).shape
        shape = (experts, outputs, inputs // 32)
        codes = numbers.integers(0, 256, (*shape, 16), dtype=np.uint8)
        state[f"{name}_blocks"] = torch.from_numpy(codes)
        state[f"{name}_scales"] = torch.from_numpy(numbers.integers(118, 124, shape, dtype=np.uint8))
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config.to_dict() | {"architectures": ["GptOssForCausalLM"]}))
    edit(folder / "config.json", quantization_config={"quant_method": "mxfp4", "modules_to_not_convert": ["lm_head"]})
    return folder


def task_of(folder: Path, **changes: Any) -> TextTask:
    settings: dict[str, Any] = {"messages": ASKED, "max_new_tokens": 6, "binding": "logits"} | changes
    return TextTask(model=ModelRef.local(folder), **settings)


# ------------------------------------------------------------------------------------------------ the rules


@pytest.mark.parametrize("dtype", DTYPES)
def test_fp8_is_what_transformers_makes_of_it(dtype: torch.dtype) -> None:
    from transformers.integrations.finegrained_fp8 import Fp8Dequantize

    make: Any = Fp8Dequantize
    op = make(None)
    codes = torch.arange(256, dtype=torch.uint8)
    codes[[127, 255]] = 0  # the two that are no numbers
    weight = codes.view(torch.float8_e4m3fn).reshape(1, 256).repeat(128, 1)
    for scales in (torch.rand(2, 8) * 3e-3, torch.rand(2, 8).bfloat16(), torch.tensor([[1e-6, 30.0] * 4] * 2)):
        ours = widened_fp8(weight, scales, (64, 32), dtype)
        theirs = op._dequantize_one(weight, scales, output_dtype=dtype)
        assert torch.equal(ours.view(torch.uint8), theirs.view(torch.uint8))
    single = torch.tensor(0.37)
    ours, theirs = widened_fp8(weight, single, None, dtype), op._dequantize_one(weight, single, output_dtype=dtype)
    assert torch.equal(ours, theirs)


def test_a_block_at_the_edge_is_smaller() -> None:
    """Blocks begin at the first row and column; the number of scales alone does not say how large they are."""
    weight = torch.linspace(-4, 4, 96 * 40).reshape(96, 40)
    small, scales = small_fp8(weight)
    assert tuple(scales.shape) == (2, 2)
    found = widened_fp8(small, scales, BLOCK, torch.float32)
    assert torch.allclose(found, weight, rtol=0.07, atol=0.002)
    by_hand = small.float() * torch.stack(
        [torch.stack([scales[i // 64, j // 32] for j in range(40)]) for i in range(96)]
    )
    assert torch.equal(found, by_hand)


@pytest.mark.parametrize("dtype", DTYPES)
def test_mxfp4_is_what_transformers_makes_of_it(dtype: torch.dtype) -> None:
    from transformers.integrations.mxfp4 import convert_moe_packed_tensors

    convert: Any = convert_moe_packed_tensors
    blocks = torch.arange(256, dtype=torch.uint8).reshape(1, 2, 8, 16).repeat(1, 15, 1, 1)
    low, high = {torch.float16: (90, 138), torch.bfloat16: (10, 250), torch.float32: (10, 250)}[dtype]
    scales = torch.arange(30 * 8).remainder(high - low).add(low).to(torch.uint8).reshape(1, 30, 8)
    ours, theirs = widened_mxfp4(blocks, scales, dtype), convert(blocks, scales, dtype=dtype)
    assert torch.equal(ours.view(torch.uint8), theirs.view(torch.uint8))


def test_mxfp4_by_hand() -> None:
    numbers = np.random.default_rng(1)
    blocks = numbers.integers(0, 256, (2, 3, 4, 16), dtype=np.uint8)
    scales = numbers.integers(100, 150, (2, 3, 4), dtype=np.uint8)
    found = widened_mxfp4(torch.from_numpy(blocks), torch.from_numpy(scales), torch.float32).numpy()
    for expert, output, at in np.ndindex(2, 3, 128):
        byte = int(blocks[expert, output, at // 32, at % 32 // 2])
        code = byte >> 4 if at % 2 else byte & 15
        value = (-1 if code > 7 else 1) * E2M1[code % 8] * 2.0 ** (int(scales[expert, output, at // 32]) - 127)
        assert found[expert, at, output] == value


# ------------------------------------------------------------------------------------------------ models


@pytest.mark.parametrize(("form", "settings"), [("fp8", "FineGrainedFP8Config"), ("mxfp4", "Mxfp4Config")])
def test_a_model_has_the_weights_of_transformers_own(form: str, settings: str, request: pytest.FixtureRequest) -> None:
    pytest.importorskip("accelerate")
    folder = request.getfixturevalue(form)
    with Runner.for_task(task_of(folder), "cpu") as runner:
        ours: Any = runner._loaded
        assert isinstance(ours, LoadedText)
        result = runner.run(task_of(folder))
        assert runner.run(task_of(folder)).score == result.score
    stored: Any = result.environment.recipe
    assert stored["stored"]["format"] == form
    assert stored["stored"]["weights"] > 10_000
    theirs = _transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.bfloat16, quantization_config=getattr(_transformers, settings)(dequantize=True)
    )
    expected = theirs.state_dict()
    found = ours.model.state_dict()
    assert set(found) == set(expected)
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name
        assert found[name].dtype == tensor.dtype == torch.bfloat16, name


def test_shards_and_small_weights_go_together(fp8: Path, tmp_path: Path) -> None:
    """Weights in several files are the same model; and widened weights can be rounded for `quantize_bits`."""
    folder = tmp_path / "model"
    shutil.copytree(fp8, folder)
    state = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(state)
    parts = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
    for file, some in parts.items():
        save_file({name: state[name] for name in some}, folder / file, metadata={"format": "pt"})
    index = {"weight_map": {name: file for file, some in parts.items() for name in some}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert cv.run(task_of(folder), "cpu").score == cv.run(task_of(fp8), "cpu").score
    rounded = cv.run(task_of(folder, quantize_bits=8), "cpu")
    assert rounded.score != cv.run(task_of(fp8), "cpu").score


# ------------------------------------------------------------------------------------------------ refused


def change(folder: Path, how: Callable[[dict[str, torch.Tensor]], object]) -> None:
    state = load_file(folder / "model.safetensors")
    how(state)
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})


PROJ = "model.layers.0.mlp.up_proj.weight"


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (lambda at: change(at, lambda s: s.pop(f"{PROJ}_scale_inv")), "up_proj.weight' is stored in FP8 without"),
        (lambda at: change(at, lambda s: s.pop(PROJ)), "up_proj.weight' of shape .* which is missing"),
        (
            lambda at: change(at, lambda s: s.update({f"{PROJ}_scale_inv": torch.ones(3, 8)})),
            r"up_proj.weight' cannot be widened: its scales have shape \(3, 8\); expected \(8, 8\), blocks of",
        ),
        (
            lambda at: change(at, lambda s: s.update({f"{PROJ}_scale_inv": torch.ones(8, 8, dtype=torch.uint8)})),
            "its scales are torch.uint8; expected float32 or bfloat16",
        ),
        (
            lambda at: change(at, lambda s: s.update({f"{PROJ}_scale_inv": torch.full((8, 8), 1e38)})),
            "up_proj.weight' that stand for no finite numbers in torch.bfloat16",
        ),
        (
            lambda at: change(at, lambda s: s.update({PROJ: s[PROJ].view(torch.int8)})),
            "up_proj.weight' as torch.int8, which belongs to no fp8 weight|up_proj.weight_scale_inv' as torch.float32",
        ),
        (
            lambda at: change(at, lambda s: s.update({PROJ: s[PROJ].view(torch.float8_e5m2)})),
            "up_proj.weight' as torch.float8_e5m2, which belongs to no fp8|up_proj.weight_scale_inv' as torch.float32",
        ),
        (lambda at: settings_of(at, scale_fmt="ue8m0"), "FP8 weights with scale_fmt 'ue8m0'"),
        (lambda at: settings_of(at, expert_dtype="fp4"), "FP8 weights with expert_dtype 'fp4'"),
        (lambda at: settings_of(at, weight_block_size=None), "names no weight_block_size"),
        (lambda at: settings_of(at, quant_method="compressed-tensors", config_groups={}), "supported are fp8, mxfp4"),
        (lambda at: settings_of(at, quant_method="mxfp4"), "names mxfp4 in config.json, but stores no weight so"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(damage: Callable[[Path], None], problem: str, fp8: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(fp8, folder)
    damage(folder)
    with pytest.raises(ModelError, match=problem):
        Runner(ModelRef.local(folder), "text", "bfloat16", "cpu")


def settings_of(folder: Path, **changes: Any) -> None:
    known = json.loads((folder / "config.json").read_text())["quantization_config"]
    edit(folder / "config.json", quantization_config=known | changes)


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (lambda s, name: s.pop(f"{name}_scales"), "down_proj_blocks' has no"),
        (lambda s, name: s.pop(f"{name}_blocks"), "gate_up_proj' of shape .* which is missing"),
        (lambda s, name: s.update({f"{name}_scales": s[f"{name}_scales"][:, :3].contiguous()}), "scales have shape"),
        (lambda s, name: s[f"{name}_scales"].fill_(255), "a scale is 255, which is no number"),
        (lambda s, name: s.update({f"{name}_blocks": s[f"{name}_blocks"].int()}), "its blocks are torch.int32"),
    ],
)  # fmt: skip
def test_mxfp4_that_does_not_fit_is_refused(damage: Any, problem: str, mxfp4: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(mxfp4, folder)
    change(folder, lambda state: damage(state, "model.layers.1.mlp.experts.down_proj"))
    with pytest.raises(ModelError, match=problem):
        Runner(ModelRef.local(folder), "text", "bfloat16", "cpu")
