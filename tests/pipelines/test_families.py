"""SD 3, FLUX, Z-Image and Qwen-Image: as diffusers draws it, or refused; and what holds of every family."""

import importlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from crynux_validate.audits.findings import AuditFinding
from crynux_validate.errors import InvalidInputError, InvalidTaskError, ModelError, PipelineError, PromptTooLongError
from crynux_validate.hashing import hamming
from crynux_validate.pipelines.guard.determinism import deterministic
from crynux_validate.pipelines.images.families import FAMILIES
from crynux_validate.pipelines.images.noising import noise_tensor
from crynux_validate.pipelines.images.scheduling import check_flow_settings, make_scheduler
from crynux_validate.pipelines.models.loading import DTYPES, own_memory
from crynux_validate.pipelines.runner import Runner
from crynux_validate.schedulers import FLOW_SCHEDULERS, NOISE_SCHEDULERS
from crynux_validate.tasks import ImageTask, ModelRef, TextualInversion, task_from_json
from crynux_validate.testing import tensor_cores, tiny_flow_model, tiny_lora
from crynux_validate.testing.tiny_models import FLOWS
from tests.pipelines import jobs
from tests.pipelines.conftest import OTHER_MACHINES
from tests.pipelines.test_loras import no_weights

CHANGES: dict[str, list[dict[str, Any]]] = {
    "sd3": [
        {"negative_prompt": "ugly"},
        {"guidance_scale": 9.0},
        {"guidance_scale": 1.0},
        {"max_sequence_length": 64},
    ],
    "flux": [
        {"guidance_scale": 9.0},
        {"true_cfg_scale": 3.0},
        {"true_cfg_scale": 3.0, "negative_prompt": "ugly"},
        {"max_sequence_length": 64},
    ],
    "flux-schnell": [{"true_cfg_scale": 3.0}, {"max_sequence_length": 64}],
    "z-image": [{"negative_prompt": "ugly"}, {"guidance_scale": 9.0}, {"guidance_scale": 0.0}],
    "flux-2-klein": [{"guidance_scale": 9.0}, {"guidance_scale": 1.0}, {"max_sequence_length": 96}],
    "qwen-image": [{"true_cfg_scale": 3.0}, {"true_cfg_scale": 3.0, "negative_prompt": "ugly"}],
}
"""What changes the pictures of a family, besides what changes those of all."""

NAMES = {
    "sd3": "StableDiffusion3Pipeline",
    "flux": "FluxPipeline",
    "z-image": "ZImagePipeline",
    "flux-2-klein": "Flux2KleinPipeline",
    "qwen-image": "QwenImagePipeline",
}
TOLD_NONE = ("flux-schnell", "qwen-image")
WITHOUT_LENGTH = ("z-image", "qwen-image")

EVERYWHERE: list[dict[str, Any]] = [
    {"prompt": "a red cat"},
    {"seed": 8},
    {"steps": 4},
    {"width": 96},
    {"scheduler_args": {"use_karras_sigmas": True}},
    {"scheduler_args": {"use_exponential_sigmas": True}},
    {"scheduler_args": {"stochastic_sampling": True}},
]

Models = Callable[[str], ModelRef]
Runners = Callable[[ImageTask], Any]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    folder = tmp_path_factory.mktemp("families")
    return lambda family: tiny_flow_model(folder / family, family)  # type: ignore[arg-type]  # one of FLOWS


@pytest.fixture(scope="module")
def runners() -> Runners:
    """Models that stay loaded, by what a task loads."""
    loaded: dict[Any, Any] = {}

    def of(task: ImageTask) -> Any:
        key = (task.model, task.dtype)
        if key not in loaded:
            loaded[key] = Runner.for_task(task, "cpu")
        return loaded[key]

    return of


def task_of(models: Models, family: str, **changes: Any) -> ImageTask:
    short: dict[str, Any] = {"max_sequence_length": 64} if family == "flux-2-klein" else {}
    base = ImageTask(
        model=models(family), prompt="a big blue star on sand", seed=7, steps=3, width=64, height=64,
        scheduler="FlowMatchEulerDiscreteScheduler", guidance_scale=0.0 if family in TOLD_NONE else 3.5, **short,
    )  # fmt: skip
    return base.replace(**changes)


def pixels(runner: Any, task: ImageTask) -> bytes:
    found: bytes = runner.run(task).images[0].tobytes()
    return found


def diffusers_pipeline(task: ImageTask, *, own: bool = True) -> Any:
    diffusers: Any = importlib.import_module("diffusers")
    pipeline = diffusers.DiffusionPipeline.from_pretrained(str(task.model.path), dtype=DTYPES[task.dtype])
    pipeline.set_progress_bar_config(disable=True)
    if own:
        own_parts(pipeline)
    return pipeline


def own_parts(pipeline: Any) -> None:
    """Put weights and attention where ours are."""
    for part, module in pipeline.components.items():
        if isinstance(module, torch.nn.Module):
            own_memory(module)  # where weights lie decides bits
        if part.startswith("text_encoder"):
            module.set_attn_implementation("eager")


def diffusers_picture(pipeline: Any, task: ImageTask) -> bytes:
    """The picture of diffusers' own pipeline, with the latents and the arguments that its users give."""
    dispatch: Any = importlib.import_module("diffusers.models.attention_dispatch")
    name = type(pipeline).__name__
    dtype = torch.float32 if name == "ZImagePipeline" else DTYPES[task.dtype]
    height, width = task.height // 8, task.width // 8
    patches = name == "Flux2KleinPipeline"
    shape = (1, 64, height // 2, width // 2) if patches else (1, 16, height, width)
    latents = noise_tensor(task.seed, 0, 0, shape, dtype, "cpu")
    own: dict[str, Any] = {} if patches else {"negative_prompt": task.negative_prompt}
    if name in ("FluxPipeline", "QwenImagePipeline"):
        latents = pipeline._pack_latents(latents, *latents.shape)
        own["true_cfg_scale"] = task.true_cfg_scale
    if task.max_sequence_length is not None:
        own["max_sequence_length"] = task.max_sequence_length
    model: Any = task.model.path
    config = json.loads((model / "scheduler" / "scheduler_config.json").read_text())
    pipeline.scheduler = type(pipeline.scheduler).from_config({**config, **task.scheduler_args})
    with deterministic(), dispatch.attention_backend("native"):
        found = pipeline(
            prompt=task.prompt, height=task.height, width=task.width,
            num_inference_steps=task.steps, guidance_scale=task.guidance_scale, latents=latents, **own,
        )  # fmt: skip
    picture: bytes = found.images[0].tobytes()
    return picture


@pytest.mark.parametrize("family", FLOWS)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_it_draws_as_diffusers_does(family: str, dtype: Any, models: Models, runners: Runners) -> None:
    task = task_of(models, family, dtype=dtype)
    pipeline = diffusers_pipeline(task)
    asked = [{}, {"height": 96, "steps": 2, "scheduler_args": {"use_karras_sigmas": True}}, *CHANGES[family]]
    for changes in asked if dtype == "float32" else asked[:2]:
        changed = task.replace(**changes)
        assert pixels(runners(task), changed) == diffusers_picture(pipeline, changed), changes


@pytest.mark.parametrize("family", FLOWS)
def test_every_parameter_changes_the_picture_and_nothing_is_left_behind(
    family: str, models: Models, runners: Runners
) -> None:
    task = task_of(models, family)
    runner = runners(task)
    first = pixels(runner, task)
    for changes in (*EVERYWHERE, *CHANGES[family]):
        changed = task.replace(**changes)
        assert changed.digest != task.digest
        assert pixels(runner, changed) != first, changes
        assert pixels(runner, task) == first, f"{changes} are left behind"
    first, second = runner.run(task.replace(images=2)).images
    assert first.tobytes() == pixels(runner, task)
    assert first.tobytes() != second.tobytes()


@pytest.mark.parametrize("family", FLOWS)
def test_every_step_can_be_audited(family: str, models: Models, runners: Runners) -> None:
    asked = [{}, {"scheduler_args": {"stochastic_sampling": True}, "height": 96}, CHANGES[family][0]]
    dtypes = ["float32"] if family == "z-image" else ["float32", "bfloat16"]
    for dtype in dtypes:
        for changes in asked:
            task = task_of(models, family, dtype=dtype, binding="trace", **changes)
            result = runners(task).run(task)
            proof = result.trace.prove(0, range(3))
            found = runners(task).audit(task, result.score, proof, seed=b"a seed", count=3)
            assert found.finding is AuditFinding.MATCH, str(found)


@pytest.mark.parametrize("family", NAMES)
def test_other_machines_agree_and_other_bits_are_incomparable(
    family: str, models: Models, runners: Runners, fake_hardware_workers: Any
) -> None:
    task = task_of(models, family, binding="trace")
    assert task_from_json(task.to_json()) == task
    scores = []
    for machine in OTHER_MACHINES:
        answer, proof = fake_hardware_workers[machine].run(jobs.draw_traced, task.model.path, task.to_json())
        scores.append(answer)
        found = runners(task).audit(task, answer, proof, seed=b"a seed", count=3)
        assert found.first.finding is AuditFinding.MATCH
        assert found.finding is (AuditFinding.MATCH if machine == "native" else AuditFinding.INCOMPARABLE), str(found)
    assert scores[0].result_digest != scores[1].result_digest
    assert hamming(scores[0].hashes, scores[1].hashes) < 16


@pytest.mark.parametrize("family", NAMES)
@pytest.mark.long
def test_in_the_arithmetic_of_a_card(family: str, models: Models, runners: Runners) -> None:
    short: dict[str, Any] = {"max_sequence_length": 16, "steps": 1}
    own: dict[str, dict[str, Any]] = {
        "z-image": {"steps": 1}, "qwen-image": {"steps": 2}, "flux-2-klein": {"steps": 1, "guidance_scale": 1.0},
    }  # fmt: skip
    task = task_of(models, family, dtype="bfloat16", **own.get(family, short))
    runner = runners(task)
    plain = runner.run(task)
    with tensor_cores("hopper"):
        first, again = runner.run(task), runner.run(task)
    assert first.images[0].tobytes() == again.images[0].tobytes() != plain.images[0].tobytes()
    assert first.environment.numerics_digest != plain.environment.numerics_digest
    assert runner.run(task).images[0].tobytes() == plain.images[0].tobytes()


def test_a_distilled_model_is_told_no_guidance(copied: Any) -> None:
    path = copied("flux-2-klein")
    change_json(path / "model_index.json", is_distilled=True)
    task = task_of(lambda _family: ModelRef.local(path), "flux-2-klein", guidance_scale=1.0)
    with Runner.for_task(task, "cpu") as runner:
        assert pixels(runner, task) == diffusers_picture(diffusers_pipeline(task), task)
        with pytest.raises(PipelineError, match=r"guidance_scale: is 3.5; this model was distilled: give 0 to 1"):
            runner.run(task.replace(guidance_scale=3.5))


def test_attention_of_text_encoders_is_eager(models: Models, runners: Runners) -> None:
    for family in FLOWS:
        task = task_of(models, family)
        components = runners(task).run(task).environment.recipe["components"]
        encoders = {part: record["attention"] for part, record in components.items() if part.startswith("text_encoder")}
        assert all(attention == ["eager"] for attention in encoders.values()), encoders
        assert components["transformer"]["attention"] != ["eager"]


@pytest.mark.parametrize(
    ("family", "changes", "problem"),
    [
        ("sd3", {"scheduler": "DDIMScheduler"}, "scheduler: DDIMScheduler is not for a StableDiffusion3Pipeline"),
        ("sd3", {"true_cfg_scale": 2.0}, "true_cfg_scale: a StableDiffusion3Pipeline does not use it"),
        ("sd3", {"prompt_syntax": "webui"}, "prompt_syntax: webui is not for a StableDiffusion3Pipeline"),
        ("sd3", {"width": 72}, "width: is 72; this model needs a multiple of 16"),
        ("flux", {"height": 72}, "height: is 72; this model needs a multiple of 16"),
        ("flux", {"negative_prompt": "ugly"}, "negative_prompt: counts with a true_cfg_scale above 1 only"),
        ("flux", {"negative_prompt": None, "true_cfg_scale": 2.0}, "negative_prompt: is missing"),
        ("flux-schnell", {"guidance_scale": 3.5}, "guidance_scale: is 3.5; this model is told none: give 0"),
        ("z-image", {"max_sequence_length": 64}, "max_sequence_length: a ZImagePipeline does not use it"),
        ("z-image", {"dtype": "bfloat16", "binding": "trace"}, "needs dtype 'float32'"),
        ("flux-2-klein", {"negative_prompt": "ugly"}, "negative_prompt: a Flux2KleinPipeline takes none"),
        ("flux-2-klein", {"true_cfg_scale": 2.0}, "true_cfg_scale: a Flux2KleinPipeline does not use it"),
        ("qwen-image", {"guidance_scale": 3.5}, "guidance_scale: is 3.5; this model is told none: give 0"),
        ("qwen-image", {"negative_prompt": "ugly"}, "negative_prompt: counts with a true_cfg_scale above 1 only"),
        ("qwen-image", {"max_sequence_length": 64}, "max_sequence_length: a QwenImagePipeline does not use it"),
        ("qwen-image", {"steps": 1}, "gives noise levels that do not fall"),
        ("sd3", {"width": 2048}, "could not be drawn"),
    ],
)
def test_what_a_family_would_not_heed_is_refused(
    family: str, changes: dict[str, Any], problem: str, models: Models, runners: Runners
) -> None:
    task = task_of(models, family, **changes)
    with pytest.raises(PipelineError, match=problem):
        runners(task).run(task)


def test_a_scheduler_of_a_flow_is_not_for_stable_diffusion(runner: Any, task: ImageTask) -> None:
    for changes in ({"scheduler": FLOW_SCHEDULERS[0]}, {"max_sequence_length": 64}, {"true_cfg_scale": 2.0}):
        with pytest.raises(PipelineError, match=next(iter(changes))):
            runner.run(task.replace(**changes))


@pytest.mark.parametrize("family", FLOWS)
def test_a_prompt_is_never_cut_off(family: str, models: Models, runners: Runners) -> None:
    length = 160 if family == "flux-2-klein" else 100
    room: dict[str, Any] = {} if family in WITHOUT_LENGTH else {"max_sequence_length": length}
    task = task_of(models, family, **room)
    # CLIP sees the first 77 tokens, and what follows still counts.
    assert pixels(runners(task), task.replace(prompt="red " * 90)) != pixels(
        runners(task), task.replace(prompt="red " * 89 + "cat")
    )
    with pytest.raises(PromptTooLongError, match=r"prompt: has .* tokens; the model's tokenizer.* takes at most"):
        runners(task).run(task.replace(prompt="red " * 600))
    if family == "flux-2-klein":
        return  # it takes no negative prompt
    guided = {"true_cfg_scale": 2.0} if family in ("flux", *TOLD_NONE) else {}
    with pytest.raises(PromptTooLongError, match="negative_prompt"):
        runners(task).run(task.replace(negative_prompt="red " * 600, **guided))


@pytest.fixture
def copied(models: Models, tmp_path: Path) -> Callable[[str], Path]:
    def of(family: str) -> Path:
        path = models(family).path
        assert path is not None
        shutil.copytree(path, tmp_path / family)
        return tmp_path / family

    return of


def change_json(file: Path, **changes: Any) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def load(path: Path) -> None:
    with Runner(ModelRef.local(path), device="cpu"):
        pass


@pytest.mark.parametrize(
    ("family", "missing", "problem"),
    [
        ("sd3", "tokenizer_3/tokenizer.json", "tokenizer_3 in .*tokenizer.json is not there"),
        ("sd3", "text_encoder_3", "lacks the component 'text_encoder_3'"),
        ("sd3", "transformer/config.json", "transformer in .*config.json is not there"),
        ("flux", "text_encoder_2/model.safetensors", "text_encoder_2 in .* cannot be loaded"),
        ("z-image", "tokenizer/tokenizer_config.json", "tokenizer in .*tokenizer_config.json is not there"),
        ("z-image", "scheduler/scheduler_config.json", "scheduler_config.json cannot be read"),
    ],
)
def test_a_missing_file_is_named(family: str, missing: str, problem: str, copied: Any) -> None:
    at = copied(family) / missing
    if at.is_dir():
        shutil.rmtree(at)
    else:
        at.unlink()
    with pytest.raises(ModelError, match=problem):
        load(at.parents[len(Path(missing).parts) - 1])


def test_a_tokenizer_can_be_two_files(models: Models, runners: Runners, copied: Any) -> None:
    """As in the repository of Qwen-Image."""
    path = copied("qwen-image")
    folder = path / "tokenizer"
    pairs = json.loads((folder / "tokenizer.json").read_text())
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.json").write_text(json.dumps(pairs["model"]["vocab"]))
    merges = [" ".join(each) for each in pairs["model"]["merges"]]
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]))
    change_json(folder / "tokenizer_config.json", added_tokens_decoder={
        str(each.pop("id")): each for each in pairs["added_tokens"]
    })  # fmt: skip
    plain = task_of(models, "qwen-image")
    task = plain.replace(model=ModelRef.local(path))
    with Runner.for_task(task, "cpu") as runner:
        assert pixels(runner, task) == pixels(runners(plain), plain)
    (folder / "merges.txt").unlink()
    with pytest.raises(ModelError, match=r"tokenizer in .*tokenizer.json or vocab.json with merges.txt is not there"):
        load(path)


@pytest.mark.parametrize(
    ("template", "problem"),
    [
        (None, "has no chat template"),
        ("{{ strftime_now('%d') }}{{ messages[0].content }}", "uses strftime_now, which differs between nodes"),
        ("{{ ['a', 'b'] | random }}", "uses random"),
        ("{{ raise_exception('no') }}", "cannot be filled in: no"),
    ],
)
def test_a_chat_template_writes_the_same_everywhere(template: Any, problem: str, copied: Any) -> None:
    path = copied("z-image")
    (path / "tokenizer" / "chat_template.jinja").unlink()
    if template is not None:
        (path / "tokenizer" / "chat_template.jinja").write_text(template)
    model = ModelRef.local(path)
    task = ImageTask(model=model, prompt="a", steps=1, width=64, height=64, scheduler=FLOW_SCHEDULERS[0])
    with Runner.for_task(task, "cpu") as runner, pytest.raises(PipelineError, match=problem):
        runner.run(task)


def test_another_class_is_refused(copied: Any) -> None:
    path = copied("sd3")
    index = json.loads((path / "model_index.json").read_text())
    change_json(path / "model_index.json", text_encoder_3=["transformers", "UMT5EncoderModel"])
    with pytest.raises(ModelError, match=r"text_encoder_3 of .* supported is transformers.T5EncoderModel"):
        load(path)
    change_json(path / "model_index.json", **{**index, "_class_name": "LuminaPipeline"})
    with pytest.raises(ModelError, match=r"is a 'LuminaPipeline'; supported are StableDiffusionPipeline and .*ZImage"):
        load(path)


def test_parts_that_a_family_does_not_take_are_refused(
    models: Models, runners: Runners, tmp_path: Path, task: ImageTask
) -> None:
    asked = task_of(models, "flux")
    word = TextualInversion(ModelRef(digest="0" * 64), token="<thing>")
    with pytest.raises(ModelError, match=r"textual_inversions.0: not supported for a FluxPipeline; leave it out"):
        Runner.for_task(asked.replace(textual_inversions=[word]), "cpu")
    assert task.model.path is not None
    with pytest.raises(ModelError, match=r"unet: not supported for a FluxPipeline; leave it out"):
        Runner.for_task(asked.replace(unet=ModelRef.local(task.model.path / "unet")), "cpu")
    with pytest.raises(ModelError, match=r"transformer: not supported for a StableDiffusionPipeline; leave it out"):
        Runner.for_task(task.replace(transformer=ModelRef.local(Path(str(asked.model.path)) / "transformer")), "cpu")
    with pytest.raises(ModelError, match=r"vae .* was made for another model: its latent_channels is 4"):
        Runner.for_task(asked.replace(vae=ModelRef.local(task.model.path / "vae")), "cpu")
    other = models("z-image").path  # with FLUX's numbers of scaling
    assert other is not None
    mixed = asked.replace(vae=ModelRef.local(other / "vae"))
    with Runner.for_task(mixed, "cpu") as runner:
        assert pixels(runner, mixed) == pixels(runners(asked), asked), "the two have one VAE"


TRANSFORMERS = {
    "sd3": "SD3Transformer2DModel",
    "flux": "FluxTransformer2DModel",
    "flux-schnell": "FluxTransformer2DModel",
    "z-image": "ZImageTransformer2DModel",
    "flux-2-klein": "Flux2Transformer2DModel",
    "qwen-image": "QwenImageTransformer2DModel",
}


def in_several_files(family: str, source: Path, target: Path) -> Path:
    """Save a transformer anew, as large ones are saved."""
    diffusers: Any = importlib.import_module("diffusers")
    getattr(diffusers, TRANSFORMERS[family]).from_pretrained(source).save_pretrained(target, max_shard_size="80KB")
    assert (target / "diffusion_pytorch_model.safetensors.index.json").is_file()
    return target


@pytest.mark.parametrize("family", FLOWS)
def test_another_transformer(family: str, models: Models, runners: Runners, tmp_path: Path) -> None:
    plain = task_of(models, family, binding="trace")
    other = Path(str(tiny_flow_model(tmp_path / "other", family, seed=1).path)) / "transformer"  # type: ignore[arg-type]  # one of FLOWS
    task = plain.replace(transformer=ModelRef.local(other))
    pipeline = diffusers_pipeline(task, own=False)
    pipeline.register_modules(transformer=type(pipeline.transformer).from_pretrained(other))
    own_parts(pipeline)
    with Runner.for_task(task, "cpu") as runner:
        result: Any = runner.run(task)
        found = runner.audit(task, result.score, result.trace.prove(0, range(3)), seed=b"a seed", count=3)
    assert found.finding is AuditFinding.MATCH
    assert result.images[0].tobytes() == diffusers_picture(pipeline, task) != pixels(runners(plain), plain)
    assert result.environment.recipe["parts"]["transformer"] == ModelRef.local(other).to_dict()
    several = plain.replace(transformer=ModelRef.local(in_several_files(family, other, tmp_path / "several")))
    with Runner.for_task(several, "cpu") as runner:
        assert pixels(runner, several) == result.images[0].tobytes()


@pytest.mark.parametrize(
    ("family", "settings", "problem"),
    [
        ("sd3", {"_class_name": "FluxTransformer2DModel"}, "is a 'FluxTransformer2DModel'; expected SD3Transformer2D"),
        ("sd3", {"joint_attention_dim": 4096}, "its joint_attention_dim is 4096, and this model needs 64"),
        ("sd3", {"in_channels": 32}, "its in_channels is 32, and this model needs 16"),
        ("flux", {"in_channels": 384}, "its in_channels is 384, and this model needs 64"),
        ("flux", {"pooled_projection_dim": 768}, "its pooled_projection_dim is 768, and this model needs 32"),
        ("z-image", {"cap_feat_dim": 2560}, "its cap_feat_dim is 2560, and this model needs 32"),
        ("flux-2-klein", {"joint_attention_dim": 7680}, "its joint_attention_dim is 7680, and this model needs 96"),
        ("qwen-image", {"zero_cond_t": True}, "its zero_cond_t is True, and this model needs False"),
        ("z-image", {"all_patch_size": [2, 4]}, "its all_patch_size is .*, and this model needs"),
    ],
)
def test_a_transformer_of_another_model_is_refused(
    family: str, settings: Any, problem: str, models: Models, copied: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_weights(monkeypatch)
    folder = copied(family) / "transformer"
    change_json(folder / "config.json", **settings)
    with pytest.raises(ModelError, match=f"transformer sha256:.*{problem}"):
        Runner.for_task(task_of(models, family, transformer=ModelRef.local(folder)), "cpu")


def test_a_transformer_in_the_hubs_cache(
    models: Models, runners: Runners, copied: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    at = tmp_path / "models--Someone--Large" / "snapshots" / ("1" * 40)
    in_several_files("sd3", copied("sd3") / "transformer", at)
    plain = task_of(models, "sd3")
    task = plain.replace(transformer=ModelRef("someone/large", revision="1" * 40))
    with Runner.for_task(task, "cpu") as runner:
        assert pixels(runner, task) == pixels(runners(plain), plain)
    missing = sorted(at.glob("*.safetensors"))[-1]
    missing.unlink()
    with pytest.raises(ModelError, match=f"transformer: {missing.name} of .*can be neither found"):
        Runner.for_task(task, "cpu")


def test_a_transformer_that_is_not_whole_is_refused(
    models: Models, copied: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = in_several_files("sd3", copied("sd3") / "transformer", tmp_path / "several")
    sorted(folder.glob("*.safetensors"))[0].unlink()
    with pytest.raises(ModelError, match=r"index.json names the file .*, which is not one of those beside it"):
        Runner.for_task(task_of(models, "sd3", transformer=ModelRef.local(folder)), "cpu")
    no_weights(monkeypatch)
    (folder / "diffusion_pytorch_model.safetensors.index.json").unlink()
    with pytest.raises(ModelError, match=r"transformer: .* has no file 'diffusion_pytorch_model.safetensors', but"):
        Runner.for_task(task_of(models, "sd3", transformer=ModelRef.local(folder)), "cpu")


@pytest.mark.filterwarnings("ignore::UserWarning:peft")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    ("family", "dtype"), [(family, "bfloat16" if family == "flux" else "float32") for family in NAMES]
)
def test_loras_are_those_of_diffusers(
    family: str, dtype: Any, models: Models, runners: Runners, tmp_path: Path
) -> None:
    pytest.importorskip("peft")
    plain = task_of(models, family, dtype=dtype, steps=2)
    loras = [
        replace(tiny_lora(tmp_path / str(seed), plain.model, seed=seed), weight=weight)
        for seed, weight in enumerate((0.7, -0.3))
    ]
    task = plain.replace(loras=loras)
    with Runner.for_task(task, "cpu") as runner:
        result = runner.run(task)
    layers = result.environment.recipe["parts"]["loras"][0]["layers"]  # type: ignore[index]  # JSON values
    assert set(layers) == set(FAMILIES[NAMES[family]].lora_components)
    with deterministic():
        pipeline = diffusers_pipeline(task, own=False)
        for at, each in enumerate(loras):
            pipeline.load_lora_weights(each.model.path, weight_name=each.file, adapter_name=f"lora-{at}")
        names = [f"lora-{at}" for at in range(len(loras))]
        pipeline.set_adapters(names, [each.weight for each in loras])
        pipeline.fuse_lora(adapter_names=names)
        pipeline.unload_lora_weights()
    own_parts(pipeline)
    assert result.images[0].tobytes() == diffusers_picture(pipeline, task)
    assert result.images[0].tobytes() != pixels(runners(plain), plain)


def test_a_lora_of_another_family_is_refused(models: Models, task: ImageTask, tmp_path: Path) -> None:
    of_sd, of_flux = tiny_lora(tmp_path / "sd", task.model), tiny_lora(tmp_path / "flux", models("flux"))
    for asked in (
        task_of(models, "sd3", loras=[of_flux]),
        task_of(models, "flux", loras=[of_sd]),
        task_of(models, "z-image", loras=[of_flux]),
        task.replace(loras=[of_flux]),
    ):
        with pytest.raises(ModelError, match=r"loras.0: .* was made for another model"):
            Runner.for_task(asked, "cpu")


def test_the_settings_of_a_flow_are_checked() -> None:
    flux = {
        "_class_name": "FlowMatchEulerDiscreteScheduler", "_diffusers_version": "0.30.0", "num_train_timesteps": 1000,
        "shift": 3.0, "use_dynamic_shifting": True, "base_image_seq_len": 256, "max_image_seq_len": 4096,
        "base_shift": 0.5, "max_shift": 1.15,
    }  # fmt: skip
    assert set(flux) - set(check_flow_settings(flux)) == {"_class_name", "_diffusers_version"}
    for key, value in {
        "shift": 0, "base_shift": None, "max_shift": "1", "max_image_seq_len": 256, "base_image_seq_len": 1.5,
        "num_train_timesteps": 500, "invert_sigmas": True, "use_beta_sigmas": True, "shift_terminal": 0.9,
        "beta_start": 0.1, "time_shift_type": "cubic", "use_dynamic_shifting": 1,
    }.items():  # fmt: skip
        with pytest.raises(ModelError, match=r"scheduler_config.json"):
            check_flow_settings({**flux, key: value})
    for terminal in (None, 0.02):
        assert check_flow_settings({**flux, "shift_terminal": terminal})["shift_terminal"] == terminal
    for key in ("shift", "num_train_timesteps"):
        with pytest.raises(ModelError, match=f"lacks {key}"):
            check_flow_settings({name: value for name, value in flux.items() if name != key})


def test_noise_levels_that_do_not_fall_are_refused() -> None:
    asked = ImageTask(model=ModelRef(digest="0" * 64), prompt="", scheduler=FLOW_SCHEDULERS[0], steps=500)
    settings = {"num_train_timesteps": 1000, "shift": 1.0, "use_dynamic_shifting": True}
    scheduler = make_scheduler(settings, asked)
    with pytest.raises(PipelineError, match="noise levels that do not fall"):
        scheduler.set_timesteps(500, mu=60.0)


def test_every_family_says_what_it_takes() -> None:
    diffusers: Any = importlib.import_module("diffusers")
    for name, family in FAMILIES.items():
        assert hasattr(diffusers, name)
        assert set(family.schedulers) in ({*NOISE_SCHEDULERS}, {*FLOW_SCHEDULERS})
        assert family.denoiser in family.components
        assert {"vae", family.denoiser} <= set(family.components)


def test_task_fields_have_limits() -> None:
    base = ImageTask(model=ModelRef(digest="0" * 64), prompt="")
    for changes in ({"true_cfg_scale": 0.5}, {"max_sequence_length": 7}, {"max_sequence_length": 513}):
        with pytest.raises(InvalidTaskError, match="expected"):
            base.replace(**changes)
    with pytest.raises(InvalidInputError, match="family is 'sd4'; expected one of sd3"):
        tiny_flow_model("nowhere", "sd4")  # type: ignore[arg-type]
