"""SD 3, FLUX.1 and Z-Image: as diffusers draws it, or refused; and what holds of every family."""

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
}
"""What changes the pictures of a family, besides what changes those of all."""

NAMES = {"sd3": "StableDiffusion3Pipeline", "flux": "FluxPipeline", "z-image": "ZImagePipeline"}

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
    base = ImageTask(
        model=models(family), prompt="a big blue star on sand", seed=7, steps=3, width=64, height=64,
        scheduler="FlowMatchEulerDiscreteScheduler", guidance_scale=0.0 if family == "flux-schnell" else 3.5,
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
    latents = noise_tensor(task.seed, 0, 0, (1, 16, task.height // 8, task.width // 8), dtype, "cpu")
    if name == "FluxPipeline":
        latents = pipeline._pack_latents(latents, *latents.shape)
    own: dict[str, Any] = {"true_cfg_scale": task.true_cfg_scale} if name == "FluxPipeline" else {}
    if task.max_sequence_length is not None:
        own["max_sequence_length"] = task.max_sequence_length
    model: Any = task.model.path
    config = json.loads((model / "scheduler" / "scheduler_config.json").read_text())
    pipeline.scheduler = type(pipeline.scheduler).from_config({**config, **task.scheduler_args})
    with deterministic(), dispatch.attention_backend("native"):
        found = pipeline(
            prompt=task.prompt, negative_prompt=task.negative_prompt, height=task.height, width=task.width,
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


@pytest.mark.parametrize("family", ["sd3", "flux", "z-image"])
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


@pytest.mark.parametrize("family", ["sd3", "flux", "z-image"])
def test_in_the_arithmetic_of_a_card(family: str, models: Models, runners: Runners) -> None:
    short: dict[str, Any] = {} if family == "z-image" else {"max_sequence_length": 16}
    task = task_of(models, family, dtype="bfloat16", steps=1, **short)
    runner = runners(task)
    plain = runner.run(task)
    with tensor_cores("hopper"):
        first, again = runner.run(task), runner.run(task)
    assert first.images[0].tobytes() == again.images[0].tobytes() != plain.images[0].tobytes()
    assert first.environment.numerics_digest != plain.environment.numerics_digest
    assert runner.run(task).images[0].tobytes() == plain.images[0].tobytes()


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
    room: dict[str, Any] = {} if family == "z-image" else {"max_sequence_length": 100}
    task = task_of(models, family, **room)
    # CLIP sees the first 77 tokens, and what follows still counts.
    assert pixels(runners(task), task.replace(prompt="red " * 90)) != pixels(
        runners(task), task.replace(prompt="red " * 89 + "cat")
    )
    with pytest.raises(PromptTooLongError, match=r"prompt: has .* tokens; the model's tokenizer.* takes at most"):
        runners(task).run(task.replace(prompt="red " * 600))
    guided = {"true_cfg_scale": 2.0} if family.startswith("flux") else {}
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
    with pytest.raises(ModelError, match=r"vae .* was made for another model: its latent_channels is 4"):
        Runner.for_task(asked.replace(vae=ModelRef.local(task.model.path / "vae")), "cpu")
    other = models("z-image").path  # with FLUX's numbers of scaling
    assert other is not None
    mixed = asked.replace(vae=ModelRef.local(other / "vae"))
    with Runner.for_task(mixed, "cpu") as runner:
        assert pixels(runner, mixed) == pixels(runners(asked), asked), "the two have one VAE"


@pytest.mark.filterwarnings("ignore::UserWarning:peft")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(("family", "dtype"), [("sd3", "float32"), ("flux", "bfloat16"), ("z-image", "float32")])
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
        "num_train_timesteps": 500, "invert_sigmas": True, "use_beta_sigmas": True, "shift_terminal": 0.02,
        "beta_start": 0.1, "time_shift_type": "cubic", "use_dynamic_shifting": 1,
    }.items():  # fmt: skip
        with pytest.raises(ModelError, match=r"scheduler_config.json"):
            check_flow_settings({**flux, key: value})
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
