"""Task arguments of the live network: carried over, or refused by name (protocol T4)."""

import base64
import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crynux_validate import ImageTask, Lora, ModelRef, TextTask, task_from_json
from crynux_validate.errors import InvalidInputError, InvalidTaskError
from crynux_validate.tasks import Canny, ControlNet, Refiner, TextualInversion
from tests import crynux_examples

COMMIT = "0123456789abcdef0123456789abcdef01234567"
IMAGE: dict[str, Any] = {"base_model": "crynux-network/sdxl-turbo", "prompt": "a red cat", "task_config": {}}
TEXT: dict[str, Any] = {"model": "Qwen/Qwen2.5-7B", "messages": [{"role": "user", "content": "what is the sea?"}]}


def image(arguments: Any = IMAGE, **changes: Any) -> ImageTask:
    value = arguments | changes if isinstance(arguments, dict) else arguments
    return ImageTask.from_crynux(value, revision=COMMIT)


PNG = "data:image/png;base64,iVBORw0KGgo="


def text(arguments: Any = TEXT, *, model_defaults: Any = None, **changes: Any) -> TextTask:
    value = arguments | changes if isinstance(arguments, dict) else arguments
    return TextTask.from_crynux(value, revision=COMMIT, model_defaults=model_defaults)


# ------------------------------------------------------------------------------------------------ examples


@pytest.mark.parametrize("example", [*crynux_examples.TEXT, *crynux_examples.IMAGE], ids=lambda found: found.name)
def test_every_example_of_the_task_runners_is_taken_or_refused_in_one_line(example: crynux_examples.Example) -> None:
    kind = TextTask if example in crynux_examples.TEXT else ImageTask
    settings: dict[str, Any] = {"model_defaults": {"do_sample": True}} if kind is TextTask else {}
    if kind is ImageTask:
        settings["parts"] = parts_of(example.arguments)
    if not example.field:
        task = kind.from_crynux(json.dumps(example.arguments), revision=COMMIT, **settings)
        assert task_from_json(task.to_json()) == task
        return
    with pytest.raises(InvalidTaskError) as caught:
        kind.from_crynux(example.arguments, revision=COMMIT, **settings)
    assert (caught.value.field, caught.value.code) == (example.field, example.code)
    assert example.says in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


def test_what_the_examples_say_reaches_the_tasks() -> None:
    found = {example.name: example.arguments for example in crynux_examples.TEXT}
    task = text(found["deepseek_v31_tool_call_example"])
    assert (task.template_args, task.max_new_tokens, task.repetition_penalty) == ({"thinking": False}, 32768, 1.1)
    assert (task.do_sample, task.temperature, task.seed, task.dtype) == (True, 0.7, 42424422, "float16")
    assert [tool["function"]["name"] for tool in task.tools] == ["get_current_weather", "calculator"]
    assert text(found["chat_template_example"]).quantize_bits == 4
    seen = text(found["qwen2_5_vl_3b_example"])
    assert [picture.data() for picture in seen.pictures] == [base64.b64decode("iVBORw0KGgo=")]
    assert seen.messages == ({"role": "user", "content": (
        {"type": "text", "text": "what is this?"}, {"type": "image"},
    )},)  # fmt: skip


@pytest.mark.parametrize("given", ["", "no base64!", 7, None, "data:image/png;base64,iVBORw0KGgo="])
def test_a_picture_that_is_no_base64_is_refused(given: Any) -> None:
    content = [{"type": "image", "base64": given}]
    with pytest.raises(InvalidTaskError, match=r"messages\.0\.content\.0\.base64: is .*; expected the file of a PNG"):
        text({"model": "owner/name", "messages": [{"role": "user", "content": content}]})


# ------------------------------------------------------------------------------------------------ images


def test_an_image_task_that_names_nothing_has_the_live_networks_defaults() -> None:
    for arguments in (IMAGE, {name: IMAGE[name] for name in ("base_model", "prompt")}):
        assert image(arguments) == ImageTask(
            model=ModelRef("crynux-network/sdxl-turbo", revision=COMMIT),
            prompt="a red cat",
            negative_prompt="",
            seed=0,
            steps=1,
            width=512,
            height=512,
            guidance_scale=5,
            prompt_syntax="compel",
            images=6,
            scheduler="DPMSolverMultistepScheduler",
            dtype="float32",
            safety_checker=True,
            algorithm="phash-go/1",
        )


def test_every_field_of_an_image_task() -> None:
    arguments = {
        "version": "2.5.0",
        "base_model": {"name": "owner/model", "variant": "fp16"},
        "dtype": "float16",
        "unet": "",
        "prompt": "a",
        "negative_prompt": "b",
        "task_config": {
            "image_width": 768, "image_height": 64, "steps": 100, "seed": 2**31 - 1, "num_images": 10,
            "safety_checker": False, "cfg": 0,
        },
        "lora": None,
        "controlnet": None,
        "scheduler": {
            "method": "DPMSolverMultistepScheduler",
            "args": {
                "timestep_spacing": "trailing", "steps_offset": 1, "solver_order": 2, "algorithm_type": "dpmsolver++",
                "solver_type": "heun", "euler_at_final": True, "use_karras_sigmas": True,
                "final_sigmas_type": "sigma_min", "beta_start": None,
            },
        },
        "vae": "",
        "refiner": None,
        "textual_inversion": "",
    }  # fmt: skip
    task = image(arguments)
    given_args: dict[str, Any] = {**arguments["scheduler"]["args"]}  # type: ignore[index,dict-item]
    assert task == ImageTask(
        model=ModelRef("owner/model", revision=COMMIT, variant="fp16"), prompt="a", negative_prompt="b",
        prompt_syntax="compel", width=768,
        height=64, steps=100, seed=2**31 - 1, images=10, safety_checker=False, guidance_scale=0,
        scheduler="DPMSolverMultistepScheduler", dtype="float16", algorithm="phash-go/1",
        scheduler_args={name: value for name, value in given_args.items() if value is not None},
    )  # fmt: skip
    assert image(json.dumps(arguments)) == image(json.dumps(arguments).encode()) == task
    assert task_from_json(task.to_json()) == task
    assert "beta_start" not in task.to_json()


configs = st.fixed_dictionaries(
    {},
    optional={
        "image_width": st.integers(8, 512).map(lambda side: 8 * side),
        "image_height": st.integers(8, 512).map(lambda side: 8 * side),
        "steps": st.integers(1, 50),
        "seed": st.integers(0, 2**31 - 1),
        "num_images": st.integers(1, 10),
        "safety_checker": st.booleans(),
        "cfg": st.integers(0, 20) | st.floats(0, 20),
    },
)
SCHEDULERS = ("DPMSolverMultistepScheduler", "EulerAncestralDiscreteScheduler", "LCMScheduler")
COUNTERPARTS = {
    "image_width": "width", "image_height": "height", "steps": "steps", "seed": "seed", "num_images": "images",
    "safety_checker": "safety_checker", "cfg": "guidance_scale",
}  # fmt: skip


WORDS = st.lists(
    st.sampled_from(["cat", "red++", "(a house)1.2", "snow-", "(word:1.3)", "<x>"]), min_size=1, max_size=9
)


@given(configs, WORDS.map(" ".join), WORDS.map(", ".join) | st.just(""), st.sampled_from(SCHEDULERS))
def test_image_fields_are_carried_over_one_by_one(
    config: dict[str, Any], prompt: str, negative_prompt: str, method: str
) -> None:
    task = image(prompt=prompt, negative_prompt=negative_prompt, task_config=config, scheduler={"method": method})
    plain = image()
    assert (task.prompt, task.negative_prompt, task.scheduler) == (prompt, negative_prompt, method)
    for there, here in COUNTERPARTS.items():
        assert getattr(task, here) == config.get(there, getattr(plain, here)), there


@pytest.mark.parametrize(
    ("variant", "dtype", "found"),
    [
        (None, "auto", "float32"),
        (None, "bfloat16", "bfloat16"),
        (None, "float16", "float16"),
        ("fp16", "auto", "float16"),
        ("fp16", "float32", "float16"),
        ("other", "auto", "float32"),
    ],
)
def test_the_dtype_of_an_image_task(variant: str | None, dtype: str, found: str) -> None:
    task = image(base_model={"name": "owner/model", "variant": variant}, dtype=dtype)
    assert task.dtype == found
    assert task.model.variant == variant


def test_arguments_of_a_scheduler_that_change_nothing() -> None:
    same = {"num_train_timesteps": 1000, "thresholding": False, "lower_order_final": True, "use_lu_lambdas": False}
    assert image(scheduler={"args": same}) == image()
    lcm = {"method": "LCMScheduler"}
    assert image(scheduler=lcm | {"args": {"timestep_scaling": 10, "thresholding": False}}) == image(scheduler=lcm)


def test_every_argument_of_a_scheduler_is_taken_or_refused_with_a_reason() -> None:
    """The live network's lists: those of all schedulers, and each one's own."""
    common = (
        "num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "prediction_type", "timestep_spacing",
        "steps_offset", "rescale_betas_zero_snr",
    )  # fmt: skip
    clipped = ("thresholding", "dynamic_thresholding_ratio", "sample_max_value")
    own = {
        "EulerAncestralDiscreteScheduler": (),
        "LCMScheduler": (
            *clipped, "original_inference_steps", "clip_samples", "clip_samples_range", "set_alpha_to_one",
            "timestep_scaling",
        ),
        "DPMSolverMultistepScheduler": (
            *clipped, "solver_order", "algorithm_type", "solver_type", "lower_order_final", "euler_at_final",
            "use_karras_sigmas", "use_lu_lambdas", "final_sigmas_type", "lambda_min_clipped", "variance_type",
        ),
    }  # fmt: skip
    values = (1, 2, True, "trailing", "dpmsolver++", "midpoint", "zero", 80, False)
    for method, names in own.items():
        for name in (*common, *names):
            problems = []
            for value in values:
                try:
                    image(scheduler={"method": method, "args": {name: value}})
                except InvalidTaskError as error:
                    problems.append(error)
            assert all(error.field == f"scheduler.args.{name}" for error in problems), name
            if len(problems) == len(values):
                assert all("leave it out" in str(error) for error in problems), name


def test_lcm_has_its_limit_written_in() -> None:
    assert image(scheduler={"method": "LCMScheduler"}).scheduler_args == {"original_inference_steps": 50}
    given_args = {"method": "LCMScheduler", "args": {"original_inference_steps": 80}}
    assert image(scheduler=given_args, task_config={"steps": 70}).steps == 70


def test_the_callers_choices() -> None:
    assert ImageTask.from_crynux(IMAGE, revision=COMMIT, algorithm="phash/1").algorithm == "phash/1"
    with pytest.raises(InvalidTaskError, match="can change") as caught:
        ImageTask.from_crynux(IMAGE, revision="main")
    assert caught.value.field == "revision"
    assert not ImageTask.from_crynux(IMAGE, revision="main", allow_unpinned=True).model.pinned
    with pytest.raises(TypeError, match="revision"):
        ImageTask.from_crynux(IMAGE)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("changes", "field", "code"),
    [
        ({"lora": {"model": "owner/lora", "weight": 80}}, "lora.model", "unsupported"),
        ({"lora": {"model": ""}}, "lora.model", "limits"),
        ({"lora": {"weight": 80}}, "lora.model", "schema"),
        ({"lora": {"model": "owner/lora", "scale": 1}}, "lora.scale", "unsupported"),
        ({"lora": "owner/lora"}, "lora", "schema"),
        ({"vae": 1}, "vae", "schema"),
        ({"controlnet": {"model": "owner/net", "weight": 80}}, "controlnet.image_dataurl", "schema"),
        ({"controlnet": {"model": "owner/net", "image_dataurl": PNG}}, "controlnet.model", "unsupported"),
        ({"controlnet": {"model": "owner/net", "preprocess": {"method": "dwpose"}}}, "controlnet.preprocess.method",
         "unsupported"),
        ({"controlnet": {"model": "owner/net", "preprocess": {"method": "canny", "args": {"low_threshold": 201}}}},
         "controlnet.preprocess.args.low_threshold", "limits"),
        ({"controlnet": {"preprocess": {"method": "canny", "args": {"high_threshold": 2041}}}},
         "controlnet.preprocess.args.high_threshold", "limits"),
        ({"controlnet": {"weight": 0}}, "controlnet.weight", "limits"),
        ({"controlnet": {"model": "owner/net", "image_dataurl": "data:image/jpeg;base64,AA=="}},
         "controlnet.image_dataurl", "unsupported"),
        ({"controlnet": {"model": "owner/net", "image_dataurl": "data:image/png;base64,@"}},
         "controlnet.image_dataurl", "schema"),
        ({"vae": "owner/vae"}, "vae", "unsupported"),
        ({"unet": "owner/unet"}, "unet", "unsupported"),
        ({"refiner": {"model": "owner/refiner"}}, "refiner.model", "unsupported"),
        ({"refiner": "owner/refiner"}, "refiner", "schema"),
        ({"refiner": {}}, "refiner.model", "schema"),
        ({"refiner": {"model": "owner/refiner", "cfg": 5}}, "refiner.cfg", "unsupported"),
        ({"textual_inversion": "owner/x"}, "textual_inversion", "unsupported"),
        ({"textual_inversion": 1}, "textual_inversion", "schema"),
        ({"controlnet": {"image_dataurl": "a" * 2_000_000}}, "controlnet.image_dataurl", "unsupported"),
        ({"unknown": 1}, "unknown", "unsupported"),
        ({"version": "two"}, "version", "schema"),
        ({"base_model": ""}, "base_model", "limits"),
        ({"base_model": None}, "base_model", "schema"),
        ({"base_model": "../../etc"}, "base_model", "schema"),
        ({"base_model": {}}, "base_model.name", "schema"),
        ({"base_model": {"name": "a b"}}, "base_model.name", "schema"),
        ({"base_model": {"name": "a/b", "variant": "../x"}}, "base_model.variant", "schema"),
        ({"base_model": {"name": "a/b", "variant": 16}}, "base_model.variant", "schema"),
        ({"base_model": {"name": "a/b", "revision": "main"}}, "base_model.revision", "unsupported"),
        ({"dtype": "int8"}, "dtype", "unsupported"),
        ({"dtype": None}, "dtype", "schema"),
        ({"prompt": ""}, "prompt", "limits"),
        ({"prompt": None}, "prompt", "schema"),
        ({"prompt": "a" * 8_193}, "prompt", "limits"),
        ({"negative_prompt": 1}, "negative_prompt", "schema"),
        ({"task_config": []}, "task_config", "schema"),
        ({"task_config": {"strength": 1}}, "task_config.strength", "unsupported"),
        ({"task_config": {"image_width": 65}}, "task_config.image_width", "limits"),
        ({"task_config": {"image_height": 8_192}}, "task_config.image_height", "limits"),
        ({"task_config": {"steps": 0}}, "task_config.steps", "limits"),
        ({"task_config": {"steps": 101}}, "task_config.steps", "limits"),
        ({"task_config": {"steps": 2.0}}, "task_config.steps", "schema"),
        ({"task_config": {"steps": True}}, "task_config.steps", "schema"),
        ({"task_config": {"seed": -1}}, "task_config.seed", "limits"),
        ({"task_config": {"seed": 2**31}}, "task_config.seed", "limits"),
        ({"task_config": {"num_images": 0}}, "task_config.num_images", "limits"),
        ({"task_config": {"num_images": 11}}, "task_config.num_images", "limits"),
        ({"task_config": {"safety_checker": 1}}, "task_config.safety_checker", "schema"),
        ({"task_config": {"cfg": 20.5}}, "task_config.cfg", "limits"),
        ({"task_config": {"cfg": True}}, "task_config.cfg", "schema"),
        ({"scheduler": "LCMScheduler"}, "scheduler", "schema"),
        ({"scheduler": {"method": "DDIMScheduler"}}, "scheduler.method", "unsupported"),
        ({"scheduler": {"method": ["LCMScheduler"]}}, "scheduler.method", "schema"),
        ({"scheduler": {"args": []}}, "scheduler.args", "schema"),
        ({"scheduler": {"args": {"beta_start": 0.1}}}, "scheduler.args.beta_start", "unsupported"),
        ({"scheduler": {"args": {"use_exponential_sigmas": True}}}, "scheduler.args.use_exponential_sigmas",
         "unsupported"),
        ({"scheduler": {"args": {"use_exponential_sigmas": False}}}, "scheduler.args.use_exponential_sigmas",
         "unsupported"),
        ({"scheduler": {"args": {"thresholding": True}}}, "scheduler.args.thresholding", "unsupported"),
        ({"scheduler": {"args": {"lower_order_final": 1}}}, "scheduler.args.lower_order_final", "unsupported"),
        ({"scheduler": {"args": {"variance_type": "learned"}}}, "scheduler.args.variance_type", "unsupported"),
        ({"scheduler": {"method": "LCMScheduler", "args": {"timestep_scaling": 1.0}}},
         "scheduler.args.timestep_scaling", "unsupported"),
        ({"prompt": "a cat.swap(dog)"}, "prompt", "unsupported"),
        ({"scheduler": {"args": {"solver_order": 9}}}, "scheduler.args.solver_order", "limits"),
        ({"scheduler": {"args": {"solver_order": True}}}, "scheduler.args.solver_order", "limits"),
        ({"scheduler": {"method": "LCMScheduler", "args": {"solver_order": 2}}}, "scheduler.args.solver_order",
         "unsupported"),
        ({"scheduler": {"method": "LCMScheduler"}, "task_config": {"steps": 51}}, "task_config.steps", "limits"),
    ],
)  # fmt: skip
def test_image_arguments_that_are_refused(changes: dict[str, Any], field: str, code: str) -> None:
    with pytest.raises(InvalidTaskError) as caught:
        image(**changes)
    assert (caught.value.field, caught.value.code) == (field, code)
    assert str(caught.value).startswith(field)


@pytest.mark.parametrize("missing", ["base_model", "prompt"])
def test_an_image_task_needs_a_model_and_a_prompt(missing: str) -> None:
    with pytest.raises(InvalidTaskError, match="missing") as caught:
        image({name: value for name, value in IMAGE.items() if name != missing})
    assert caught.value.field == missing


PINNED = ModelRef("Owner/LoRA", revision="1" * 40)
FOLDER = ModelRef(digest="2" * 64)


def beside(parts: Any, **arguments: Any) -> ImageTask:
    return ImageTask.from_crynux(IMAGE | arguments, revision=COMMIT, parts=parts)


@pytest.mark.parametrize(
    ("there", "expected"),
    [
        ({}, Refiner(PINNED)),
        ({"denoising_cutoff": 75, "steps": 100}, Refiner(PINNED, 0.75, 100)),
        ({"denoising_cutoff": 0.75, "steps": None, "variant": None}, Refiner(PINNED, 0.75)),
        ({"variant": "fp16"}, Refiner(ModelRef("owner/lora", revision="1" * 40, variant="fp16"))),
    ],
)
def test_a_refiner_is_carried_over_where_it_is_pinned(there: Any, expected: Refiner) -> None:
    assert beside({"refiner": PINNED}, refiner={"model": "owner/lora", **there}).refiner == expected


def test_a_refiner_after_a_controlnet_is_refused() -> None:
    net = {"model": "owner/lora", "image_dataurl": "data:image/png;base64,AAAA"}
    with pytest.raises(InvalidTaskError, match="redraws the finished picture") as caught:
        beside({"refiner": PINNED, "controlnet": PINNED}, refiner={"model": "owner/lora"}, controlnet=net)
    assert (caught.value.field, caught.value.code) == ("refiner", "unsupported")


@pytest.mark.parametrize(
    ("lora", "part", "expected"),
    [
        ({"model": "owner/lora"}, PINNED, Lora(PINNED)),
        ({"model": "OWNER/LORA", "weight": 80}, PINNED, Lora(PINNED, weight=0.8)),
        ({"model": "owner/lora", "weight": 0.8}, PINNED, Lora(PINNED, weight=0.8)),
        ({"model": "owner/lora", "weight": 1}, PINNED, Lora(PINNED, weight=0.01)),
        ({"model": "owner/lora", "weight": 1.0}, PINNED, Lora(PINNED, weight=1)),
        ({"model": "owner/lora", "weight": None, "weight_file_name": ""}, PINNED, Lora(PINNED)),
        ({"model": "owner/lora", "weight_file_name": "a.safetensors"}, PINNED, Lora(PINNED, "a.safetensors")),
        ({"model": "owner/lora"}, Lora(PINNED, "b.safetensors"), Lora(PINNED, "b.safetensors")),
        ({"model": "https://civitai.com/api/download/models/34562"}, FOLDER, Lora(FOLDER)),
        ({"model": "owner/lora"}, FOLDER, Lora(FOLDER)),
    ],
)
def test_a_lora_is_carried_over_where_it_is_pinned(lora: Any, part: Any, expected: Lora) -> None:
    task = beside({"lora": part}, lora=lora)
    assert task.loras == (expected,)
    assert task.replace(loras=[]) == image()
    assert task_from_json(task.to_json()) == task


def test_a_textual_inversion_is_carried_over_with_its_file_and_its_token() -> None:
    found = TextualInversion(ModelRef("sd-concepts-library/cat-toy", revision="5" * 40), token="<cat-toy>")
    task = beside({"textual_inversion": found}, textual_inversion="sd-concepts-library/cat-toy")
    assert task.textual_inversions == (found,)
    with pytest.raises(InvalidInputError, match="expected a TextualInversion"):
        beside({"textual_inversion": found.model}, textual_inversion="sd-concepts-library/cat-toy")


def parts_of(arguments: dict[str, Any]) -> dict[str, Any]:
    """What pins the parts that an example names: a commit, or a folder for what comes from an address."""

    def pin(name: str) -> ModelRef:
        return FOLDER if "://" in name else ModelRef(name, revision="8" * 40)

    found: dict[str, Any] = {name: pin(arguments[name]) for name in ("vae", "unet") if arguments.get(name)}
    if (arguments.get("lora") or {}).get("model"):
        found["lora"] = pin(arguments["lora"]["model"])
    for name in ("controlnet", "refiner"):
        if arguments.get(name, {}).get("model"):
            found[name] = pin(arguments[name]["model"])
    if arguments.get("textual_inversion"):
        found["textual_inversion"] = TextualInversion(pin(arguments["textual_inversion"]), token="<cat-toy>")
    return found


def test_the_parts_of_the_examples_reach_the_tasks() -> None:
    found = {each.name: each.arguments for each in crynux_examples.IMAGE}

    def taken(name: str) -> ImageTask:
        return ImageTask.from_crynux(found[name], revision=COMMIT, parts=parts_of(found[name]))

    assert taken("sd15_lora").loras == (Lora(FOLDER, weight=0.7),)
    assert taken("sdxl_turbo_lora_hf").loras == (Lora(ModelRef("ciron2022/toy-face", revision="8" * 40)),)
    assert taken("sdxl_lcm").unet == ModelRef("latent-consistency/lcm-sdxl", revision="8" * 40)
    refiner = taken("sdxl_base_refiner").refiner
    assert refiner == Refiner(ModelRef("stabilityai/stable-diffusion-xl-refiner-1.0", revision="8" * 40), 0.8, 20, 5.0)
    (inversion,) = taken("sd15_textual_inversion").textual_inversions
    assert (inversion.token, inversion.model.repository) == ("<cat-toy>", "sd-concepts-library/cat-toy")
    for name in ("sd15_lora", "sdxl_lcm", "sd15_textual_inversion"):
        with pytest.raises(InvalidTaskError, match=r"pass parts={") as caught:
            image(found[name])
        assert len(str(caught.value)) < 300


def test_a_controlnet_is_carried_over_with_its_picture() -> None:
    found = next(each.arguments for each in crynux_examples.IMAGE if each.name == "sd15_controlnet_canny")
    task = ImageTask.from_crynux(found, revision=COMMIT, parts=parts_of(found))
    net = task.controlnet
    assert net is not None
    data = base64.b64decode(found["controlnet"]["image_dataurl"].partition(",")[2])
    assert (net.model.repository, net.scale) == ("lllyasviel/sd_controlnet_canny", 0.7)
    assert (net.image.data(), net.preprocess) == (data, Canny(50, 100))
    without = {name: value for name, value in found["controlnet"].items() if name != "preprocess"}
    plain = ImageTask.from_crynux(found | {"controlnet": without}, revision=COMMIT, parts=parts_of(found))
    assert plain.controlnet == ControlNet(net.model, net.image, 0.7)


def test_a_vae_and_a_unet_are_carried_over_where_they_are_pinned() -> None:
    vae, unet = ModelRef("a/vae", revision="3" * 40), ModelRef("latent-consistency/lcm-sdxl", revision="4" * 40)
    task = beside({"vae": vae, "unet": unet}, vae="a/VAE", unet="latent-consistency/lcm-sdxl")
    assert (task.vae, task.unet) == (vae, unet)


@pytest.mark.parametrize(
    ("parts", "arguments", "field", "message"),
    [
        (None, {"vae": "a/vae"}, "vae", r"pass parts={'vae': ModelRef\(...\)}"),
        ({"lora": PINNED}, {"lora": {"model": "b/lora"}}, "lora.model", "parts has 'owner/lora'; name the same, or"),
        ({"lora": PINNED}, {"lora": {"model": "https://a/b"}}, "lora.model", "the digest of a folder"),
        ({"lora": PINNED}, {"lora": {"model": "owner/lora", "weight": 0}}, "lora.weight", "more than 0"),
        ({"lora": PINNED}, {"lora": {"model": "owner/lora", "weight": 101}}, "lora.weight", "at most 100"),
        ({"lora": PINNED}, {"lora": {"model": "owner/lora", "weight": "80"}}, "lora.weight", "expected a number"),
        ({"lora": PINNED}, {"lora": {"model": "owner/lora", "weight_file_name": "a.bin"}}, "lora.weight_file_name",
         "expected a .safetensors file"),
        ({"refiner": PINNED}, {"refiner": {"model": "owner/lora", "denoising_cutoff": 100}}, "refiner.denoising_cutoff",
         "is 1, which leaves one model no step"),
        ({"refiner": PINNED}, {"refiner": {"model": "owner/lora", "denoising_cutoff": 0}}, "refiner.denoising_cutoff",
         "more than 0"),
        ({"refiner": PINNED}, {"refiner": {"model": "owner/lora", "steps": 101}}, "refiner.steps", "1 to 100"),
        ({"refiner": PINNED}, {"refiner": {"model": "owner/lora", "steps": 1.5}}, "refiner.steps", "an integer"),
        ({"refiner": PINNED}, {"refiner": {"model": "owner/lora", "variant": "no/way"}}, "refiner.variant", "variant"),
        ({"refiner": PINNED}, {"refiner": {"model": "owner/other"}}, "refiner.model", "parts has 'owner/lora'"),
        ({"lora": PINNED}, {"lora": {"model": "owner/lora", "weight_file_name": 1}}, "lora.weight_file_name", "text"),
    ],
)  # fmt: skip
def test_parts_that_are_refused(parts: Any, arguments: Any, field: str, message: str) -> None:
    with pytest.raises(InvalidTaskError, match=message) as caught:
        beside(parts, **arguments)
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"lora": PINNED}, "parts has 'lora', but the arguments do not"),
        ({"ip": PINNED}, "parts has 'ip'; expected some of unet, vae, lora, textual_inversion, controlnet, refiner"),
        ({"refiner": PINNED}, "parts has 'refiner', but the arguments do not"),
        ({"lora": "owner/lora"}, "expected ModelRefs by the live network's fields"),
        ([PINNED], "expected ModelRefs by the live network's fields"),
        ({"vae": Lora(PINNED)}, "expected a ModelRef"),
    ],
)
def test_what_a_caller_names_for_parts(parts: Any, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        beside(parts, **({"vae": "owner/lora"} if isinstance(parts, dict) and "vae" in parts else {}))


# ------------------------------------------------------------------------------------------------ text


def test_a_text_task_that_names_nothing() -> None:
    assert text() == TextTask(
        model=ModelRef("Qwen/Qwen2.5-7B", revision=COMMIT),
        messages=TEXT["messages"],
        max_new_tokens=256,
        sequences=1,
        seed=0,
        dtype="bfloat16",
    )
    nothing = {"tools": None, "generation_config": None, "quantize_bits": None, "template_args": None}
    assert text(**nothing) == text()


def test_every_field_of_a_text_task() -> None:
    tools = [{"type": "function", "function": {"name": "rain", "parameters": {}}}]
    call = {"id": "1", "type": "function", "function": {"name": "rain", "arguments": {}}}
    arguments = {
        "model": "owner/model",
        "messages": [
            {"role": "system", "content": "brief"},
            {"role": "user", "content": "rain?", "tool_call_id": None, "tool_calls": None},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "content": "yes", "tool_call_id": "1"},
        ],
        "tools": tools,
        "generation_config": {
            "max_new_tokens": 30, "do_sample": True, "num_beams": 1, "temperature": 0.7, "typical_p": 0.9, "top_k": 20,
            "top_p": 0.95, "min_p": 0.05, "repetition_penalty": 1.1, "num_return_sequences": 3, "stop_strings": ["END"],
        },
        "seed": 42,
        "dtype": "float16",
        "quantize_bits": 8,
        "template_args": {"enable_thinking": False, "tags": ["a", 1]},
    }  # fmt: skip
    task = text(arguments)
    assert task == TextTask(
        model=ModelRef("owner/model", revision=COMMIT), tools=tools, quantize_bits=8,
        template_args={"tags": ["a", 1], "enable_thinking": False}, seed=42, dtype="float16", max_new_tokens=30,
        do_sample=True, temperature=0.7, typical_p=0.9, top_k=20, top_p=0.95, min_p=0.05, repetition_penalty=1.1,
        sequences=3, stop=["END"],
        messages=[
            {"role": "system", "content": "brief"}, {"role": "user", "content": "rain?"},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "content": "yes", "tool_call_id": "1"},
        ],
    )  # fmt: skip
    assert text(json.dumps(arguments)) == task
    assert task_from_json(task.to_json()) == task


sampling = st.fixed_dictionaries(
    {},
    optional={
        "temperature": st.floats(0.01, 100),
        "typical_p": st.floats(0.01, 1),
        "top_k": st.integers(0, 1000),
        "top_p": st.floats(0.01, 1),
        "min_p": st.floats(0, 1),
    },
)


@given(sampling)
def test_what_only_sampling_uses_counts_only_with_it(config: dict[str, Any]) -> None:
    sampled = text(generation_config=config | {"do_sample": True})
    assert sampled.do_sample
    for name, value in config.items():
        assert getattr(sampled, name) == value
    assert sampled.top_k == config.get("top_k", 50), "transformers takes 50 where nobody says"
    assert text(generation_config=config | {"do_sample": False}) == text()
    assert text(generation_config=config, model_defaults={}) == text()
    if config:
        with pytest.raises(InvalidTaskError, match="model_defaults") as caught:
            text(generation_config=config)
        assert caught.value.field == "generation_config.do_sample"


def test_zero_is_a_temperature_that_nobody_reads() -> None:
    assert text(generation_config={"do_sample": False, "temperature": 0}).temperature == 1
    with pytest.raises(InvalidTaskError) as caught:
        text(generation_config={"do_sample": True, "temperature": 0})
    assert caught.value.field == "generation_config.temperature"


def test_beams_and_sequences() -> None:
    task = text(generation_config={"num_beams": 4, "num_return_sequences": 2, "repetition_penalty": 2})
    assert (task.beams, task.sequences, task.repetition_penalty) == (4, 2, 2)


def test_what_the_model_says_holds_where_the_task_does_not() -> None:
    """As a file of a real model reads: most of it is not for tasks."""
    model: dict[str, Any] = {
        "bos_token_id": 1, "eos_token_id": [1, 2], "transformers_version": "5.0.0", "max_new_tokens": 9,
        "num_return_sequences": 7, "do_sample": True, "temperature": 0.6, "top_k": 20, "top_p": 0.95,
        "repetition_penalty": 1.05, "typical_p": None,
    }  # fmt: skip
    task = text(model_defaults=model)
    assert (task.do_sample, task.temperature, task.top_k, task.top_p) == (True, 0.6, 20, 0.95)
    assert (task.repetition_penalty, task.max_new_tokens, task.sequences) == (1.05, 256, 1)
    assert task.eos_token_ids == (1, 2)
    named = text(model_defaults=model, generation_config={"temperature": 0.9, "top_k": 0, "top_p": None})
    assert (named.temperature, named.top_k, named.top_p, named.repetition_penalty) == (0.9, 0, 0.95, 1.05)
    greedy = text(model_defaults=model, generation_config={"do_sample": False})
    assert (greedy.do_sample, greedy.temperature, greedy.repetition_penalty) == (False, 1, 1.05)
    wrong: list[tuple[Any, str]] = [
        ({"temperature": "hot"}, "model_defaults.temperature"),
        ([1], "model_defaults"),
        ({"eos_token_id": "</s>"}, "model_defaults.eos_token_id"),
        ({"eos_token_id": [1, True]}, "model_defaults.eos_token_id.1"),
        ({"eos_token_id": -1}, "model_defaults.eos_token_id.0"),
    ]
    for defaults, field in wrong:
        with pytest.raises(InvalidTaskError) as caught:
            text(model_defaults=defaults)
        assert caught.value.field == field


@given(st.integers(0, 2**31 - 1) | st.lists(st.integers(0, 2**31 - 1), max_size=4) | st.none())
def test_the_models_end_tokens_are_carried_over(end: Any) -> None:
    task = text(model_defaults={"eos_token_id": end})
    assert task.eos_token_ids == (None if end is None else (end,) if isinstance(end, int) else tuple(sorted(set(end))))
    assert task_from_json(task.to_json()) == task


def test_every_default_of_a_model_is_carried_over_or_refused_or_chooses_no_token() -> None:
    """All that transformers knows in a generation_config.json: none is dropped without a word."""
    transformers = pytest.importorskip("transformers")
    carried = {
        "do_sample": True, "eos_token_id": 7, "num_beams": 2, "repetition_penalty": 1.5, "stop_strings": ["END"],
    } | dict.fromkeys(("temperature", "top_p", "min_p", "typical_p"), 0.5) | {"top_k": 5}  # fmt: skip
    nothing = {
        "_from_model_config", "bos_token_id", "cache_config", "cache_implementation", "compile_config",
        "continuous_batching_config", "decoder_start_token_id", "disable_compile", "low_memory", "max_cache_len",
        "max_length", "max_new_tokens", "num_return_sequences", "output_attentions", "output_hidden_states",
        "output_logits", "output_scores", "pad_token_id", "prefill_chunk_size", "return_dict_in_generate",
        "transformers_version", "use_cache", "assistant_confidence_threshold", "assistant_early_exit",
        "assistant_ensemble_weight", "assistant_lookbehind", "max_matching_ngram_size", "num_assistant_tokens",
        "num_assistant_tokens_schedule", "speculation_type", "target_lookbehind",
    }  # fmt: skip
    fields = set(transformers.GenerationConfig().to_dict()) | {"max_time", "chat_format"}
    assert carried.keys() | nothing <= fields
    for name in sorted(fields):
        sampled = {} if name in ("do_sample", "num_beams") else {"do_sample": True}
        if name in carried:
            assert text(model_defaults=sampled | {name: carried[name]}) != text(model_defaults=sampled), name
        elif name in nothing:
            assert text(model_defaults={name: 9}) == text(), name
        else:
            assert text(model_defaults={name: None}) == text(), name
            with pytest.raises(InvalidTaskError, match="this library does not support it") as caught:
                text(model_defaults={name: 9})
            assert (caught.value.field, caught.value.code) == (f"model_defaults.{name}", "unsupported")
    neutral = {"no_repeat_ngram_size": 0, "length_penalty": 1, "suppress_tokens": [], "guidance_scale": 1.0}
    assert text(model_defaults=neutral) == text()


def test_forms_that_clients_write_are_one_task() -> None:
    asked = "what is the sea?"
    for message in (
        {"role": "user", "content": [{"type": "text", "text": asked}]},
        {"role": "user", "content": asked, "tool_calls": []},
        {"role": "user", "content": asked, "tool_calls": None, "tool_call_id": None},
    ):
        assert text(messages=[message]).digest == text().digest


def test_names_that_the_relay_has_changed() -> None:
    assert text(model="qwen/qwen2.5-7b").digest == text(model="Qwen/Qwen2.5-7B").digest == text().digest
    for name in ("Crynux-Network/SDXL-Turbo", {"name": "crynux-network/sdxl-Turbo", "variant": None}):
        assert image(base_model=name).digest == image().digest


def test_what_auto_is_for_text_is_the_callers_to_say() -> None:
    assert text(dtype="auto").dtype == "bfloat16"
    assert TextTask.from_crynux(TEXT, revision=COMMIT, auto_dtype="float32").dtype == "float32"
    named = TextTask.from_crynux(TEXT | {"dtype": "float16"}, revision=COMMIT, auto_dtype="float32", binding="logits")
    assert (named.dtype, named.binding) == ("float16", "logits")


@pytest.mark.parametrize(
    ("changes", "field", "code"),
    [
        ({"quantize_bits": 5}, "quantize_bits", "schema"),
        ({"quantize_bits": "4"}, "quantize_bits", "schema"),
        ({"quantize_bits": True}, "quantize_bits", "schema"),
        ({"template_args": [1]}, "template_args", "schema"),
        ({"template_args": {"tools": []}}, "template_args.tools", "unsupported"),
        ({"template_args": {"chat_template": "{{ messages }}"}}, "template_args.chat_template", "unsupported"),
        ({"template_args": {"enable thinking": True}}, "template_args.enable thinking", "limits"),
        ({"stream": True}, "stream", "unsupported"),
        ({"model": ""}, "model", "limits"),
        ({"model": "a b"}, "model", "schema"),
        ({"messages": None}, "messages", "schema"),
        ({"messages": []}, "messages", "schema"),
        ({"messages": ["hello"]}, "messages.0", "schema"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
         "messages.0.content.0.type", "unsupported"),
        ({"messages": [{"role": "user"}]}, "messages.0.content", "schema"),
        ({"messages": [{"role": "developer", "content": "x"}]}, "messages.0.role", "unsupported"),
        ({"messages": [{"role": "user", "content": "x", "name": "ann"}]}, "messages.0.name", "unsupported"),
        ({"tools": {}}, "tools", "schema"),
        ({"tools": ["rain"]}, "tools.0", "schema"),
        ({"seed": -1}, "seed", "limits"),
        ({"seed": 1.5}, "seed", "schema"),
        ({"dtype": "int4"}, "dtype", "unsupported"),
        ({"generation_config": []}, "generation_config", "schema"),
        ({"generation_config": {"length_penalty": 1}}, "generation_config.length_penalty", "unsupported"),
        ({"generation_config": {"max_new_tokens": 0}}, "generation_config.max_new_tokens", "limits"),
        ({"generation_config": {"max_new_tokens": "9"}}, "generation_config.max_new_tokens", "schema"),
        ({"generation_config": {"num_beams": 17}}, "generation_config.num_beams", "limits"),
        ({"generation_config": {"num_return_sequences": 17}}, "generation_config.num_return_sequences", "limits"),
        ({"generation_config": {"num_beams": 2, "num_return_sequences": 3}}, "generation_config.num_return_sequences",
         "limits"),
        ({"generation_config": {"num_beams": 2, "do_sample": True}}, "generation_config.do_sample", "limits"),
        ({"generation_config": {"stop_strings": [""]}}, "generation_config.stop_strings.0", "limits"),
        ({"generation_config": {"stop_strings": "END"}}, "generation_config.stop_strings", "schema"),
        ({"generation_config": {"do_sample": 1}}, "generation_config.do_sample", "schema"),
        ({"generation_config": {"do_sample": False, "temperature": "hot"}}, "generation_config.temperature", "schema"),
        ({"generation_config": {"do_sample": False, "top_k": True}}, "generation_config.top_k", "schema"),
        ({"generation_config": {"do_sample": True, "top_p": 1.5}}, "generation_config.top_p", "limits"),
        ({"generation_config": {"repetition_penalty": 0}}, "generation_config.repetition_penalty", "limits"),
    ],
)  # fmt: skip
def test_text_arguments_that_are_refused(changes: dict[str, Any], field: str, code: str) -> None:
    with pytest.raises(InvalidTaskError) as caught:
        text(**changes)
    assert (caught.value.field, caught.value.code) == (field, code)
    assert str(caught.value).startswith(field)


# ------------------------------------------------------------------------------------------------ strangers


@pytest.mark.parametrize(
    ("value", "word"),
    [
        ("", "not JSON"),
        ("[]", "JSON object"),
        (b"\xff", "UTF-8"),
        (json.dumps(IMAGE).replace('"a red cat"', '"a", "prompt": "b"'), "twice"),
        (json.dumps(IMAGE | {"task_config": {"cfg": math.nan}}), "NaN"),
        (IMAGE | {"task_config": {"cfg": math.inf}}, "Infinity"),
        (IMAGE | {"prompt": "\ud800"}, "surrogate"),
        (IMAGE | {"prompt": b"bytes"}, "bytes"),
        (IMAGE | {"unknown": 10**30}, "31 digits"),
        ("[" * 60_000, "nested"),
        (" " * 5_000_000, "4194304"),
        (None, "None"),
        (7, "7"),
    ],
)
def test_strangers_json(value: Any, word: str) -> None:
    for read in (ImageTask, TextTask):
        with pytest.raises(InvalidTaskError, match=word):
            read.from_crynux(value, revision=COMMIT)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
PLACES = (
    "base_model", "model", "prompt", "messages", "tools", "task_config", "generation_config", "scheduler", "dtype",
    "version", "lora", "seed", "scheduler.args", "messages.0",
)  # fmt: skip


@given(st.sampled_from(PLACES), anything)
def test_any_json_is_a_task_or_an_error(place: str, value: Any) -> None:
    name, _, inner = place.partition(".")
    changed = {name: [value] if inner == "0" else {inner: value} if inner else value}
    for read, plain in ((ImageTask, IMAGE), (TextTask, TEXT)):
        for arguments in (plain | changed, json.dumps(plain | changed), value):
            try:
                task = read.from_crynux(arguments, revision=COMMIT)
            except InvalidTaskError:
                continue
            assert task_from_json(task.to_json()) == task


def test_a_dictionary_is_not_changed() -> None:
    config = {"do_sample": True, "temperature": 0.5}
    arguments = TEXT | {"generation_config": config}
    before = json.dumps(arguments)
    text(arguments)
    assert json.dumps(arguments) == before
