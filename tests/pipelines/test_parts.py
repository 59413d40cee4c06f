"""Another VAE, another UNet, textual inversions, no negative prompt: as diffusers does it, or refused."""

import importlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from crynux_validate.answers import ErrorReport
from crynux_validate.errors import InvalidInputError, ModelError, PromptTooLongError
from crynux_validate.hashing import hamming
from crynux_validate.pipelines.guard.determinism import deterministic
from crynux_validate.pipelines.images.noising import noise_tensor
from crynux_validate.pipelines.models.loading import own_memory
from crynux_validate.pipelines.runner import Runner, run
from crynux_validate.tasks import ImageTask, ModelRef, TextualInversion
from crynux_validate.testing import tensor_cores, tiny_image_model, tiny_sdxl_model, tiny_textual_inversion
from tests.pipelines import jobs
from tests.pipelines.conftest import Machines
from tests.pipelines.test_loras import no_weights


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of another model of the same shape."""
    path = tiny_image_model(tmp_path_factory.mktemp("models") / "sd", random=True, seed=1).path
    assert path is not None
    return path


@pytest.fixture(scope="module")
def xl(tmp_path_factory: pytest.TempPathFactory) -> ModelRef:
    return tiny_sdxl_model(tmp_path_factory.mktemp("models") / "xl")


@pytest.fixture(scope="module")
def thing(model: ModelRef, tmp_path_factory: pytest.TempPathFactory) -> TextualInversion:
    return tiny_textual_inversion(tmp_path_factory.mktemp("thing"), model)


def diffusers_picture(task: ImageTask, config: Any, change: Any) -> Any:
    """The picture of diffusers' own pipeline, with its parts changed by diffusers' own functions."""
    diffusers: Any = importlib.import_module("diffusers")
    dispatch: Any = importlib.import_module("diffusers.models.attention_dispatch")
    with deterministic(), dispatch.attention_backend("native"):
        pipeline = diffusers.DiffusionPipeline.from_pretrained(str(task.model.path))
        pipeline.set_progress_bar_config(disable=True)
        change(diffusers, pipeline)
        for part, module in pipeline.components.items():
            if isinstance(module, torch.nn.Module):
                own_memory(module)  # where weights lie decides bits
            if part.startswith("text_encoder"):
                module.set_attn_implementation("eager")
        pipeline.scheduler = diffusers.DDIMScheduler.from_config(config)
        return pipeline(
            prompt=task.prompt, negative_prompt=task.negative_prompt, height=64, width=64,
            num_inference_steps=task.steps, guidance_scale=task.guidance_scale,
            latents=noise_tensor(task.seed, 0, 0, (1, 4, 8, 8), torch.float32, "cpu"),
        ).images[0]  # fmt: skip


def check_bits(task: ImageTask, change: Any) -> Any:
    """Run a task, and compare with diffusers' own pipeline, to the bit."""
    result: Any = run(task, "cpu")
    theirs = diffusers_picture(task, result.environment.recipe["scheduler"]["config"], change)
    assert result.images[0].tobytes() == theirs.tobytes()
    return result


@pytest.mark.parametrize("part", ["vae", "unet"])
def test_another_component(part: str, runner: Any, task: ImageTask, elsewhere: Path) -> None:
    other = ModelRef.local(elsewhere / part)
    asked = task.replace(**{part: other})

    def change(diffusers: Any, pipeline: Any) -> None:
        kind = {"vae": "AutoencoderKL", "unet": "UNet2DConditionModel"}[part]
        setattr(pipeline, part, getattr(diffusers, kind).from_pretrained(str(other.path)))

    result = check_bits(asked, change)
    plain = runner.run(task)
    assert result.images[0].tobytes() != plain.images[0].tobytes()
    assert result.environment.recipe["parts"][part] == other.to_dict()
    assert str(other.path) not in result.environment.to_json()
    with pytest.raises(InvalidInputError, match=rf"asks for parts {part} sha256:"):
        runner.run(asked)
    own = ModelRef.local(Path(str(task.model.path)) / part)
    assert run(task.replace(**{part: own}), "cpu").score == plain.score == runner.run(task).score


def test_a_component_can_be_audited(task: ImageTask, elsewhere: Path) -> None:
    asked = task.replace(unet=ModelRef.local(elsewhere / "unet"), vae=ModelRef.local(elsewhere / "vae"))
    asked = asked.replace(binding="trace")
    with Runner.for_task(asked, "cpu") as runner:
        result: Any = runner.run(asked)
        found = runner.audit(asked, result.score, result.trace.prove(0, range(3)), seed=b"a seed", count=3)
    assert found.finding == "MATCH", str(found)


def edited(folder: Path, target: Path, **settings: Any) -> ModelRef:
    shutil.copytree(folder, target)
    config = json.loads((target / "config.json").read_text())
    (target / "config.json").write_text(json.dumps(config | settings))
    return ModelRef.local(target)


@pytest.mark.parametrize(
    ("part", "settings", "message"),
    [
        ("vae", {"_class_name": "AutoencoderTiny"}, "vae sha256:.* is a 'AutoencoderTiny'; expected AutoencoderKL"),
        ("vae", {"latent_channels": 16}, "made for another model: its latent_channels is 16, and this model needs 4"),
        ("vae", {"scaling_factor": 0.13025}, "its scaling_factor is 0.13025, and this model needs 0.18215"),
        ("unet", {"in_channels": 9}, "its in_channels is 9, and this model needs 4"),
        ("unet", {"cross_attention_dim": 768}, "its cross_attention_dim is 768, and this model needs 32"),
        ("unet", {"addition_embed_type": "text_time"}, "its addition_embed_type is 'text_time'"),
    ],
)
def test_components_of_another_model(
    part: str, settings: Any, message: str, task: ImageTask, elsewhere: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    no_weights(monkeypatch)
    with pytest.raises(ModelError, match=message) as caught:
        run(task.replace(**{part: edited(elsewhere / part, tmp_path / part, **settings)}), "cpu")
    assert ErrorReport.of(caught.value).code == "failed"


def test_components_that_are_not_whole(
    task: ImageTask, elsewhere: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_weights(monkeypatch)
    with pytest.raises(ModelError, match=r"vae: .* has no file 'config.json', but model_index.json"):
        run(task.replace(vae=ModelRef.local(elsewhere)), "cpu")
    vae = tmp_path / "vae"
    shutil.copytree(elsewhere / "vae", vae)
    (vae / "diffusion_pytorch_model.safetensors").rename(vae / "diffusion_pytorch_model.bin")
    with pytest.raises(ModelError, match=r"vae: .* has no file 'diffusion_pytorch_model.safetensors', but"):
        run(task.replace(vae=ModelRef.local(vae)), "cpu")


def test_a_unet_that_is_told_the_guidance(task: ImageTask, tmp_path: Path) -> None:
    """Distilled models: one prediction a step, whatever the scale, and an audit that knows it."""
    diffusers: Any = importlib.import_module("diffusers")
    assert task.model.path is not None
    with deterministic():
        config = dict(diffusers.UNet2DConditionModel.load_config(task.model.path / "unet"))
        unet = diffusers.UNet2DConditionModel.from_config({**config, "time_cond_proj_dim": 16})
    unet.save_pretrained(tmp_path / "unet")
    asked = task.replace(unet=ModelRef.local(tmp_path / "unet"), scheduler="LCMScheduler", binding="trace")
    with Runner.for_task(asked, "cpu") as runner:
        result: Any = runner.run(asked)
        assert result.environment.recipe["guidance"] == "none"
        assert runner.run(asked.replace(guidance_scale=2)).score != result.score
        found = runner.audit(asked, result.score, result.trace.prove(0, range(3)), seed=b"a seed", count=3)
    assert found.finding == "MATCH", str(found)


def test_a_word_with_vectors_of_its_own(runner: Any, task: ImageTask, thing: TextualInversion) -> None:
    asked = task.replace(prompt="a red <thing>", negative_prompt="<thing> ugly", textual_inversions=[thing])
    result = check_bits(
        asked,
        lambda _, pipeline: pipeline.load_textual_inversion(str(thing.model.path / thing.file), token="<thing>"),  # type: ignore[operator]
    )
    (record,) = result.environment.recipe["parts"]["textual_inversions"]
    assert (record["token"], record["vectors"]) == ("<thing>", {"text_encoder": 2})
    plain = task.replace(prompt=asked.prompt, negative_prompt=asked.negative_prompt)
    assert runner.run(plain).score != result.score
    assert runner.run(plain).score == run(plain, "cpu").score, "nothing stays behind"
    with pytest.raises(InvalidInputError, match=r"asks for parts textual_inversions\.0"):
        runner.run(asked)
    unused = task.replace(textual_inversions=[thing])
    assert run(unused, "cpu").score == runner.run(task).score, "a word that is not in the prompt changes nothing"


def test_a_word_can_stand_for_many_tokens(task: ImageTask, model: ModelRef, tmp_path: Path) -> None:
    long = tiny_textual_inversion(tmp_path, model, vectors=70)
    asked = task.replace(prompt="x x x x x <thing>", steps=1, textual_inversions=[long])
    run(asked, "cpu")
    with pytest.raises(PromptTooLongError, match="has 76 tokens"):
        run(asked.replace(prompt="x x x x x x <thing>"), "cpu")


def test_a_word_for_two_text_encoders(xl: ModelRef, task: ImageTask, tmp_path: Path) -> None:
    thing = tiny_textual_inversion(tmp_path, xl)

    def change(_: Any, pipeline: Any) -> None:
        vectors = load_file(tmp_path / thing.file)
        for name, at in (("clip_l", ""), ("clip_g", "_2")):
            tokenizer, encoder = getattr(pipeline, f"tokenizer{at}"), getattr(pipeline, f"text_encoder{at}")
            given = {"<thing>": vectors[name]}
            pipeline.load_textual_inversion(given, token="<thing>", tokenizer=tokenizer, text_encoder=encoder)

    check_bits(task.replace(model=xl, prompt="a <thing>", textual_inversions=[thing]), change)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"<a>": torch.ones(2, 768)}, "made for another model: its vectors have 768 numbers, and those of .* 32"),
        ({"clip_l": torch.ones(2, 32), "clip_g": torch.ones(2, 32)}, "another model: it has vectors for text_encoder"),
        ({"<a>": torch.ones(32), "<b>": torch.ones(32)}, "holds '<a>', '<b>'; expected the vectors of one word alone"),
        ({"<a>": torch.ones(76, 32)}, "expected 1 to 75 vectors"),
        ({"<a>": torch.ones(2, 2, 32)}, "expected 1 to 75 vectors"),
        ({"<a>": torch.full((32,), torch.nan)}, "values that are NaN or infinite"),
    ],
)  # fmt: skip
def test_vectors_that_do_not_fit(
    tensors: Any, message: str, task: ImageTask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_weights(monkeypatch)
    save_file(tensors, tmp_path / "learned_embeds.safetensors")
    bad = TextualInversion(ModelRef.local(tmp_path), token="<a>")
    with pytest.raises(ModelError, match=message) as caught:
        run(task.replace(textual_inversions=[bad]), "cpu")
    assert str(caught.value).startswith("textual_inversions.0: ")


def test_a_word_that_the_model_knows(task: ImageTask, model: ModelRef, tmp_path: Path) -> None:
    known = tiny_textual_inversion(tmp_path, model, token="cat</w>")
    with pytest.raises(ModelError, match=r"knows 'cat</w>' already; name another token"):
        run(task.replace(textual_inversions=[known]), "cpu")


def test_no_negative_prompt_and_an_empty_one(task: ImageTask, runner: Any, xl: ModelRef) -> None:
    asked = task.replace(model=xl)
    empty, none = (check_bits(asked.replace(negative_prompt=text), lambda *_: None) for text in ("", None))
    assert empty.score != none.score
    assert runner.run(task).score == runner.run(task.replace(negative_prompt=None)).score, "SD 1.5 tells no difference"


def test_two_kinds_of_machines_agree(
    machines: Machines, task: ImageTask, elsewhere: Path, thing: TextualInversion
) -> None:
    asked = task.replace(
        prompt="a red <thing>", vae=ModelRef.local(elsewhere / "vae"), unet=ModelRef.local(elsewhere / "unet"),
        textual_inversions=[thing],
    )  # fmt: skip
    here: Any = run(asked, "cpu")
    folders = [model.path for model in asked.references().values()]
    for name, machine in machines.items():
        found = machine.run(jobs.draw_with_parts, folders, asked.to_json())
        assert found["recipe"] == here.environment.recipe_digest
        assert hamming(found["score"].hashes, here.score.hashes) <= (0 if name == "native" else 2)


def test_they_run_in_a_cards_arithmetic(task: ImageTask, elsewhere: Path, thing: TextualInversion) -> None:
    asked = task.replace(
        prompt="a <thing>", vae=ModelRef.local(elsewhere / "vae"), unet=ModelRef.local(elsewhere / "unet"),
        textual_inversions=[thing], dtype="bfloat16", steps=1,
    )  # fmt: skip
    plain: Any = run(asked, "cpu")
    with tensor_cores("hopper"):
        emulated: Any = run(asked, "cpu")
    assert emulated.environment.numerics != plain.environment.numerics
    assert hamming(emulated.hashes[0], plain.hashes[0]) <= 8
