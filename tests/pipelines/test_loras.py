"""LoRAs: the bits of diffusers' own pipeline, what each field changes, what is refused, and what stays behind."""

import importlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from crynux_validate.answers import ErrorReport
from crynux_validate.errors import InvalidInputError, ModelError
from crynux_validate.hashing import hamming
from crynux_validate.pipelines.guard.determinism import deterministic
from crynux_validate.pipelines.images.noising import noise_tensor
from crynux_validate.pipelines.models.loading import DTYPES, own_memory
from crynux_validate.pipelines.runner import Runner, run
from crynux_validate.tasks import ImageTask, Lora, ModelRef
from crynux_validate.testing import tensor_cores, tiny_lora, tiny_sdxl_model
from tests.pipelines import jobs
from tests.pipelines.conftest import Machines

FILE = "pytorch_lora_weights.safetensors"


@pytest.fixture(scope="module")
def lora(model: ModelRef, tmp_path_factory: pytest.TempPathFactory) -> Lora:
    return tiny_lora(tmp_path_factory.mktemp("lora"), model)


@pytest.fixture(scope="module")
def other(model: ModelRef, tmp_path_factory: pytest.TempPathFactory) -> Lora:
    return tiny_lora(tmp_path_factory.mktemp("other"), model, seed=1)


@pytest.fixture(scope="module")
def xl(tmp_path_factory: pytest.TempPathFactory) -> ModelRef:
    return tiny_sdxl_model(tmp_path_factory.mktemp("models") / "xl")


def changed(lora: Lora, folder: Path, change: Callable[[dict[str, torch.Tensor]], Any], **metadata: str) -> Lora:
    """The same LoRA with other tensors."""
    assert lora.model.path is not None
    tensors = load_file(lora.model.path / FILE)
    change(tensors)
    folder.mkdir(exist_ok=True)
    save_file(tensors, folder / FILE, metadata={"format": "pt", **metadata})
    return Lora(ModelRef.local(folder))


def weights(task: ImageTask) -> dict[str, torch.Tensor]:
    """The weights of the networks that are loaded for a task."""
    with Runner.for_task(task, "cpu") as opened:
        runner: Any = opened
        parts = runner._loaded.pipeline.components
        return {
            f"{part}.{name}": value.clone()
            for part, module in parts.items()
            if part.startswith(("unet", "text_encoder")) and module is not None
            for name, value in module.named_parameters()
        }


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.filterwarnings("ignore::UserWarning:peft")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(("kind", "dtype"), [("sd", "float32"), ("sd", "bfloat16"), ("xl", "float32")])
def test_the_picture_is_that_of_diffusers_own_pipeline(
    kind: str, dtype: Any, model: ModelRef, xl: ModelRef, task: ImageTask, tmp_path: Path
) -> None:
    pytest.importorskip("peft")
    diffusers: Any = importlib.import_module("diffusers")
    from diffusers.models.attention_dispatch import attention_backend

    base = model if kind == "sd" else xl
    loras = [
        replace(tiny_lora(tmp_path / str(seed), base, seed=seed), weight=weight)
        for seed, weight in enumerate((0.7, -0.3))
    ]
    asked = task.replace(model=base, dtype=dtype, steps=2, loras=loras)
    result: Any = run(asked, "cpu")
    recipe = result.environment.recipe
    with deterministic(), attention_backend("native"):
        pipeline: Any = diffusers.DiffusionPipeline.from_pretrained(str(base.path), dtype=DTYPES[dtype])
        pipeline.set_progress_bar_config(disable=True)
        for at, each in enumerate(loras):
            pipeline.load_lora_weights(each.model.path, weight_name=each.file, adapter_name=f"lora-{at}")
        names = [f"lora-{at}" for at in range(len(loras))]
        pipeline.set_adapters(names, [each.weight for each in loras])
        pipeline.fuse_lora(adapter_names=names)
        pipeline.unload_lora_weights()
        for part, module in pipeline.components.items():
            if isinstance(module, torch.nn.Module):
                own_memory(module)  # where weights lie decides bits
            if part.startswith("text_encoder"):
                module.set_attn_implementation("eager")
        pipeline.scheduler = diffusers.DDIMScheduler.from_config(recipe["scheduler"]["config"])
        latents = noise_tensor(asked.seed, 0, 0, (1, 4, 8, 8), DTYPES[dtype], "cpu")
        theirs = pipeline(
            prompt=asked.prompt, negative_prompt="", height=64, width=64, num_inference_steps=2,
            guidance_scale=asked.guidance_scale, latents=latents,
        ).images[0]  # fmt: skip
    assert result.images[0].tobytes() == theirs.tobytes()
    assert {part["layers"]["unet"] for part in recipe["parts"]["loras"]} == {60}


def test_each_field_counts_and_nothing_stays_behind(runner: Any, task: ImageTask, lora: Lora, other: Lora) -> None:
    plain = runner.run(task)
    scores = {}
    for name, loras in {
        "whole": [lora],
        "again": [lora],
        "half": [replace(lora, weight=0.5)],
        "both": [lora, other],
        "turned": [other, lora],
        "nothing": [replace(lora, weight=0)],
    }.items():
        scores[name] = run(task.replace(loras=loras), "cpu").score
    assert scores["whole"] == scores["again"]
    assert scores["nothing"] == plain.score
    assert len({scores[name].hex for name in ("whole", "half", "both")} | {plain.score.hex}) == 4
    assert scores["both"].hashes == scores["turned"].hashes, "they are added, in whatever order"
    assert runner.run(task).score == plain.score == run(task, "cpu").score
    with pytest.raises(InvalidInputError, match=r"asks for parts loras.0 .*, but this runner has loaded no parts"):
        runner.run(task.replace(loras=[lora]))
    with Runner.for_task(task.replace(loras=[lora]), "cpu") as loaded:
        for asked in (task, task.replace(loras=[replace(lora, weight=0.5)]), task.replace(loras=[lora, other])):
            with pytest.raises(InvalidInputError, match=r"Runner.for_task"):
                loaded.run(asked)


def test_the_recipe_says_what_was_added(task: ImageTask, lora: Lora) -> None:
    asked = task.replace(loras=[replace(lora, weight=0.5)])
    result: Any = run(asked, "cpu")
    (record,) = result.environment.recipe["parts"]["loras"]
    assert record["model"] == lora.model.to_dict()
    assert (record["file"], record["weight"]) == (FILE, 0.5)
    assert record["layers"] == {"unet": 60, "text_encoder": 4}
    assert str(lora.model.path) not in result.environment.to_json()


def kohya(tensors: dict[str, torch.Tensor], alpha: float) -> None:
    """Rename matrices as another trainer writes them; alpha is a tensor of its own."""
    for name in list(tensors):
        tensor = tensors.pop(name)
        layer, _, side = name.removesuffix(".weight").rpartition(".")
        layer = layer.replace("unet.", "lora_unet_", 1).replace("text_encoder.", "lora_te_text_model_", 1)
        layer = layer.replace(".", "_")
        tensors[f"{layer}.{'lora_down' if side == 'lora_A' else 'lora_up'}.weight"] = tensor
        tensors[f"{layer}.alpha"] = torch.tensor(alpha)


def older(tensors: dict[str, torch.Tensor]) -> None:
    """Rename matrices as older diffusers wrote them."""
    for name in list(tensors):
        part, _, rest = name.partition(".")
        up = {"lora_A": "down", "lora_B": "up"}[rest.split(".")[-2]]
        layer = rest.rsplit(".", 2)[0]
        kind = "lora" if part == "unet" else "lora_linear_layer"
        tensors[f"{part}.{layer}.{kind}.{up}.weight"] = tensors.pop(name)


def test_the_names_of_other_trainers_mean_the_same(task: ImageTask, lora: Lora, tmp_path: Path) -> None:
    expected = weights(task.replace(loras=[lora]))
    again = {
        "kohya": changed(lora, tmp_path / "a", lambda tensors: kohya(tensors, 4)),
        "half": replace(changed(lora, tmp_path / "b", lambda tensors: kohya(tensors, 2)), weight=2),
        "older": changed(lora, tmp_path / "c", older),
        "peft": replace(
            changed(
                lora, tmp_path / "d", len,
                lora_adapter_metadata=json.dumps({"unet.lora_alpha": 8, "text_encoder.lora_alpha": 8, "unet.r": 4}),
            ),
            weight=0.5,
        ),
    }  # fmt: skip
    for name, each in again.items():
        assert same(weights(task.replace(loras=[each])), expected), name
    assert not same(weights(task), expected)


def keep(tensors: dict[str, torch.Tensor], part: str) -> None:
    for name in [name for name in tensors if not name.startswith(part)]:
        del tensors[name]


def spoil(tensors: dict[str, torch.Tensor], value: Any) -> None:
    name = sorted(tensors)[0]
    tensors[name] = value(tensors[name])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda found: found.pop(sorted(found)[0]), r"has half of the matrices of text_encoder\.encoder"),
        (lambda found: spoil(found, lambda old: old * torch.inf), "values that are NaN or infinite"),
        (lambda found: spoil(found, lambda old: old[:, :5].contiguous()), r"another model: 1 of its 64 layers .*needs"),
        (lambda found: found.update({"unet.nowhere.lora_A.weight": torch.ones(4, 4)}), "half of the matrices"),
        (lambda found: found.update({"unet.x.lora_magnitude_vector": torch.ones(4)}), "DoRA"),
        (lambda found: found.update({"lora_unet_x.hada_w1_a": torch.ones(4)}), "LoHa"),
        (lambda found: found.update({"lora.weight": torch.ones(4)}), "names no layer of a UNet"),
        (lambda found: found.clear(), "another model: 0 of its 0 layers"),
    ],
)
def test_files_that_are_no_lora_for_this_model(
    task: ImageTask, lora: Lora, tmp_path: Path, change: Any, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = changed(lora, tmp_path, change)
    no_weights(monkeypatch)
    with pytest.raises(ModelError, match=message) as caught:
        run(task.replace(loras=[bad]), "cpu")
    assert str(caught.value).startswith("loras.0: ")
    assert ErrorReport.of(caught.value).code == "failed"


def no_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on reading the weights of a model is an error of the test."""
    from crynux_validate.pipelines.images import models

    def fail(*args: Any, **settings: Any) -> Any:
        raise AssertionError("weights were read")

    monkeypatch.setattr(models, "load_component", fail)


def test_a_lora_of_another_architecture(
    task: ImageTask, xl: ModelRef, lora: Lora, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_xl = tiny_lora(tmp_path, xl)
    no_weights(monkeypatch)
    for asked in (task.replace(loras=[lora, of_xl]), task.replace(model=xl, loras=[lora])):
        with pytest.raises(ModelError, match=r"loras\.\d: .* was made for another model: .* do not fit"):
            run(asked, "cpu")


def test_settings_of_peft_that_change_what_is_added(task: ImageTask, lora: Lora, tmp_path: Path) -> None:
    text = json.dumps({"unet.use_rslora": True})
    bad = changed(lora, tmp_path, len, lora_adapter_metadata=text)
    with pytest.raises(ModelError, match=r"trained with 'unet.use_rslora' True, which is not supported"):
        run(task.replace(loras=[bad]), "cpu")


def test_files_that_are_not_there_or_not_those(
    task: ImageTask, lora: Lora, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    no_weights(monkeypatch)
    assert lora.model.path is not None
    shutil.copytree(lora.model.path, copy := tmp_path / "copy")
    (copy / FILE).write_bytes(b"PK\x03\x04 a pickle")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    cases = [
        (replace(lora, file="other.safetensors"), f"has no file 'other.safetensors', but {FILE}"),
        (replace(lora, model=replace(lora.model, path=copy)), "holds the model .* but the task asks for"),
        (replace(lora, model=replace(lora.model, path=None)), "on this machine is not known"),
        (Lora(ModelRef.local(copy)), "cannot be loaded: SafetensorError"),
        (Lora(ModelRef("someone/lora", revision="0" * 40)), "neither found in the local cache nor downloaded"),
    ]
    for bad, message in cases:
        with pytest.raises(ModelError, match=message) as caught:
            run(task.replace(loras=[bad]), "cpu")
        assert "loras.0" in str(caught.value)


def test_a_lora_in_the_hubs_cache(task: ImageTask, lora: Lora, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    assert lora.model.path is not None
    at = tmp_path / "models--Someone--Lora" / "snapshots" / ("1" * 40) / "deep"
    shutil.copytree(lora.model.path, at)
    cached = Lora(ModelRef("someone/lora", revision="1" * 40), f"deep/{FILE}")
    assert run(task.replace(loras=[cached]), "cpu").score == run(task.replace(loras=[lora]), "cpu").score


def test_two_kinds_of_machines_agree(machines: Machines, task: ImageTask, lora: Lora) -> None:
    asked = task.replace(loras=[lora])
    here: Any = run(asked, "cpu")
    found = {
        name: machine.run(jobs.draw_with_parts, [task.model.path, lora.model.path], asked.to_json())
        for name, machine in machines.items()
    }
    assert found["native"]["score"] == here.score
    assert {each["recipe"] for each in found.values()} == {here.environment.recipe_digest}
    assert not np.array_equal(found["oldest"]["pixels"][0], found["native"]["pixels"][0])
    assert hamming(found["oldest"]["score"].hashes, here.score.hashes) <= 2


def test_it_runs_in_a_cards_arithmetic(task: ImageTask, lora: Lora) -> None:
    asked = task.replace(loras=[lora], dtype="bfloat16", steps=1)
    plain: Any = run(asked, "cpu")
    with tensor_cores("hopper"):
        emulated: Any = run(asked, "cpu")
    assert emulated.environment.numerics != plain.environment.numerics
    assert hamming(emulated.hashes[0], plain.hashes[0]) <= 8


def test_its_steps_can_be_audited(task: ImageTask, lora: Lora) -> None:
    asked = task.replace(loras=[lora], binding="trace")
    with Runner.for_task(asked, "cpu") as runner:
        result: Any = runner.run(asked)
        found = runner.audit(asked, result.score, result.trace.prove(0, range(3)), seed=b"a seed", count=3)
    assert found.finding == "MATCH", str(found)
    bare = asked.replace(loras=[])
    with Runner.for_task(bare, "cpu") as runner, pytest.raises(InvalidInputError, match="asks for parts"):
        runner.audit(asked, result.score, result.trace.prove(0, range(3)), seed=b"a seed", count=3)
