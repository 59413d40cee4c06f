"""The example tasks of the live network's two task runners, by their values: models, settings, signs in prompts.

What is said in the prompts and messages is ours, as no field depends on it. Each example is taken, or refused with the
field that is named and what the message says.
"""

from typing import Any, Final, NamedTuple


class Example(NamedTuple):
    """An example task.

    Parameters
    ----------
    name
        Of the script.
    arguments
        What it runs.
    field, says
        Where it is refused: which field is named, and what the message holds. Empty where it is taken.
    code
        With which code it is refused.
    """

    name: str
    arguments: dict[str, Any]
    field: str = ""
    says: str = ""
    code: str = "unsupported"


# ------------------------------------------------------------------------------------------------ text

_ASKED: Final = [{"role": "user", "content": "how does one begin to keep bees?"}]
_LONG: Final = {"max_new_tokens": 32768}
_SAMPLED: Final = {"repetition_penalty": 1.1, "do_sample": True, "temperature": 0.7}
_QWEN3: Final = {"model": "Qwen/Qwen3-8B", "messages": _ASKED, "seed": 42}
_QWEN25: Final = {
    "model": "Qwen/Qwen2.5-7B-Instruct", "messages": _ASKED, "generation_config": _LONG, "seed": 42, "dtype": "float16",
}  # fmt: skip

TOOLS: Final[list[dict[str, Any]]] = [
    {
        "type": "function",
        "function": {
            "name": "get_current_weather",
            "description": "the weather at a place",
            "parameters": {
                "type": "object",
                "properties": {
                    "location": {"type": "string", "description": "a city"},
                    "unit": {"type": "string", "enum": ["celsius", "fahrenheit"], "description": "of temperatures"},
                },
                "required": ["location"],
            },
        },
    },
    {
        "type": "function",
        "function": {
            "name": "calculator",
            "description": "basic sums",
            "parameters": {
                "type": "object",
                "properties": {
                    "operation": {"type": "string", "enum": ["add", "subtract", "multiply", "divide"]},
                    "x": {"type": "number", "description": "a number"},
                    "y": {"type": "number", "description": "another"},
                },
                "required": ["operation", "x", "y"],
            },
        },
    },
]
_WITH_TOOLS: Final[dict[str, Any]] = {
    "model": "Qwen/Qwen3-8B",
    "messages": [
        {"role": "system", "content": "use the tools"},
        {"role": "user", "content": "what is the weather in Tokyo, and what is 2+2?"},
    ],
    "tools": TOOLS,
    "generation_config": _SAMPLED,
    "seed": 42424422,
    "dtype": "float16",
}
_ANSWERED: Final = [
    *_WITH_TOOLS["messages"],
    {"role": "assistant", "content": "let me look"},
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {"function": {"name": "get_current_weather", "arguments": '{"location": "Tokyo"}'}, "id": "call_0"}
        ],
    },
    {"role": "tool", "tool_call_id": "call_0", "content": '{"temperature": "24", "forecast": ["sunny", "windy"]}'},
]
_DEEPSEEK: Final = {"messages": _ASKED, "generation_config": _LONG, "seed": 42, "dtype": "float16"}
_DEEPSEEK_TOOLS: Final = _WITH_TOOLS | {"generation_config": _SAMPLED | _LONG}

TEXT: Final[tuple[Example, ...]] = (
    Example("chat_template_example", _QWEN3 | {"quantize_bits": 4}),
    Example("config_example", _QWEN3 | {"generation_config": _LONG}),
    Example("deepseek_r1_distill_qwen_example", _DEEPSEEK | {"model": "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B"}),
    Example(
        "deepseek_v31_example",
        _DEEPSEEK | {"model": "deepseek-ai/DeepSeek-V3.1", "template_args": {"thinking": True}},
    ),
    Example(
        "deepseek_v31_tool_call_example",
        _DEEPSEEK_TOOLS | {"model": "deepseek-ai/DeepSeek-V3.1", "template_args": {"thinking": False}},
    ),
    Example(
        "deepseek_v32_example",
        _DEEPSEEK | {"model": "deepseek-ai/DeepSeek-V3.2", "template_args": {"thinking_mode": "thinking"}},
    ),
    Example(
        "deepseek_v32_tool_call_example",
        _DEEPSEEK_TOOLS | {"model": "deepseek-ai/DeepSeek-V3.2", "template_args": {"thinking_mode": "chat"}},
    ),
    Example("qwen2.5_example", _QWEN25),
    Example("qwen2.5_with_cache_example", _QWEN25 | {"messages": [{"role": "user", "content": "it rains"}]}),
    Example(
        "qwen2_5_vl_3b_example",
        {
            "model": "Qwen/Qwen2.5-VL-3B-Instruct",
            "messages": [
                {
                    "role": "user",
                    "content": [{"type": "text", "text": "what is this?"}, {"type": "image", "base64": "iVBORw0KGgo="}],
                }
            ],
            "generation_config": {"max_new_tokens": 256},
            "seed": 42,
            "dtype": "float16",
        },
    ),
    Example("qwen3_example", _QWEN3),
    Example("qwen3_with_cache_example", _QWEN3 | {"messages": [{"role": "user", "content": "it rains"}]}),
    Example(
        "streaming_example", _QWEN3 | {"generation_config": _SAMPLED | {"max_new_tokens": 100}, "dtype": "float16"}
    ),
    Example("streaming_tool_call_example", _WITH_TOOLS),
    Example(
        "streaming_tool_call_example, with the answers of its tools",
        {key: value for key, value in _WITH_TOOLS.items() if key != "tools"} | {"messages": _ANSWERED},
    ),
    Example("tool_call_example", _WITH_TOOLS),
    Example("tool_call_example, with the answers of its tools", _WITH_TOOLS | {"messages": _ANSWERED}),
)

# ------------------------------------------------------------------------------------------------ images

_PHOTO: Final = "best quality++++, a woman in a sweater, messy hair+, border light"
_NOT: Final = "paintings, sketches, worst quality+++++, monochrome++, skin spots"
_DATA: Final = "data:image/png;base64,iVBORw0KGgo="
_FAST: Final = {"method": "EulerAncestralDiscreteScheduler", "args": {"timestep_spacing": "trailing"}}
_SD15: Final = {"name": "runwayml/stable-diffusion-v1-5"}
_CHILLOUT: Final = {"name": "emilianJR/chilloutmix_NiPrunedFp32Fix", "variant": None}
_SDXL: Final = "stabilityai/stable-diffusion-xl-base-1.0"
_TURBO: Final = {"name": "stabilityai/sdxl-turbo"}
_CIVITAI: Final = "https://civitai.com/api/download/models/"
_POSE: Final = {
    "model": "lllyasviel/control_v11p_sd15_openpose", "weight": 90, "image_dataurl": _DATA,
    "preprocess": {"method": "openpose_face"},
}  # fmt: skip
_CANNY: Final = {
    "model": "diffusers/controlnet-canny-sdxl-1.0", "image_dataurl": _DATA, "preprocess": {"method": "canny"},
    "weight": 70,
}  # fmt: skip
_NO: Final = "redraws the finished picture"


def _image(model: Any, config: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "version": "2.0.0", "base_model": model, "prompt": _PHOTO, "negative_prompt": _NOT,
        "task_config": {"num_images": 9, **config}, **more,
    }  # fmt: skip


_PLAIN: Final = {"safety_checker": False}
_LATE: Final = _PLAIN | {"steps": 40}
_TURBO_STEP: Final = {"steps": 1, "cfg": 0}

IMAGE: Final[tuple[Example, ...]] = (
    Example(
        "controlnet_preprocess",
        {"image_dataurl": _DATA, "preprocess": {"method": "lineart_realistic"}},
        "image_dataurl",
        "preprocess or tag a picture",
    ),
    Example(
        "finetune_lora",
        {
            "model": _SD15,
            "dataset": {"name": "lambdalabs/naruto-blip-captions"},
            "validation": {"num_images": 4},
            "train_args": {
                "learning_rate": 1e-4,
                "batch_size": 1,
                "num_train_steps": 100,
                "max_train_steps": 15000,
                "lr_scheduler": {"lr_scheduler": "cosine", "lr_warmup_steps": 0},
            },
            "lora": {
                "rank": 4,
                "init_lora_weights": "gaussian",
                "target_modules": ["to_k", "to_q", "to_v", "to_out.0"],
            },
            "transforms": {"center_crop": True, "random_flip": True},
            "mixed_precision": "fp16",
            "seed": 1337,
        },
        "train_args",
        "train a model",
    ),
    Example("remove_background", {"image_dataurl": _DATA, "model": "u2net"}, "image_dataurl", "remove its background"),
    Example(
        "rtx_5090_example",
        _image(
            _SD15,
            _PLAIN | {"num_images": 2, "steps": 25, "cfg": 7.5, "seed": 12345, "image_width": 512, "image_height": 512},
            version="2.5.0",
        ),
    ),
    Example(
        "rtx_5090_example, SDXL",
        _image(
            {"name": _SDXL},
            _PLAIN
            | {"num_images": 1, "steps": 30, "cfg": 8.0, "seed": 54321, "image_width": 1024, "image_height": 1024},
            version="2.5.0",
        ),
    ),
    Example("sd15", _image("runwayml/stable-diffusion-v1-5", _PLAIN)),
    Example(
        "sd15_controlnet",
        _image("runwayml/stable-diffusion-v1-5", _PLAIN, controlnet={}),
        "controlnet.image_dataurl",
        "is missing",
        "schema",
    ),
    Example(
        "sd15_controlnet_canny",
        _image(
            "runwayml/stable-diffusion-v1-5",
            _PLAIN,
            controlnet={
                "model": "lllyasviel/sd_controlnet_canny",
                "image_dataurl": _DATA,
                "preprocess": {"method": "canny", "args": {"low_threshold": 50, "high_threshold": 100}},
            },
        ),
    ),
    Example(
        "sd15_controlnet_openpose",
        _image("runwayml/stable-diffusion-v1-5", _PLAIN, controlnet=_POSE),
        "controlnet.preprocess.method",
        "is 'openpose_face'; expected canny",
    ),
    Example("sd15_lcm", _image(_SD15, _LATE | {"cfg": 7, "seed": 99975892}, negative_prompt="")),
    Example(
        "sd15_lcm_lora",
        _image(
            _SD15,
            _PLAIN | {"steps": 4, "cfg": 1},
            lora={"model": "latent-consistency/lcm-lora-sdv1-5", "weight": 70},
            scheduler={"method": "LCMScheduler"},
        ),
    ),
    Example("sd15_lora", _image(_CHILLOUT, _LATE, lora={"model": f"{_CIVITAI}31284", "weight": 70})),
    Example(
        "sd15_lora_controlnet",
        _image(_CHILLOUT, _LATE, lora={"model": f"{_CIVITAI}31284", "weight": 70}, controlnet=_POSE),
        "controlnet.preprocess.method",
        "is 'openpose_face'; expected canny",
    ),
    Example(
        "sd15_lora_downloaded",
        _image(
            _CHILLOUT,
            _PLAIN | {"cfg": 8, "seed": 2116617370, "steps": 28},
            prompt="(a black dress:1.4), (grey hair:1.2) <lora:JDLv15:0.66>",
            negative_prompt="(worst quality:2), ((monochrome)), sketches,",
            lora={"model": f"{_CIVITAI}34562", "weight": 70},
        ),
    ),
    Example(
        "sd15_lora_not_exist",
        _image(_CHILLOUT, _PLAIN, lora={"model": f"{_CIVITAI}345622", "weight": 70}),
    ),
    Example(
        "sd15_textual_inversion",
        _image(_SD15, {"steps": 40}, prompt="a <cat-toy> on a wall", textual_inversion="sd-concepts-library/cat-toy"),
    ),
    Example("sd15_with_cache", _image(_SD15, _LATE | {"num_images": 1, "cfg": 7, "seed": 99975892})),
    Example(
        "sdxl_base_refiner",
        _image(_SDXL, {}, refiner={"model": "stabilityai/stable-diffusion-xl-refiner-1.0", "denoising_cutoff": 80}),
    ),
    Example("sdxl_controlnet", _image(_SDXL, {"steps": 25}, controlnet=_CANNY)),
    Example(
        "sdxl_lcm",
        _image(
            {"name": _SDXL},
            {"steps": 4, "cfg": 5},
            unet="latent-consistency/lcm-sdxl",
            scheduler={"method": "LCMScheduler"},
        ),
    ),
    Example("sdxl_lora", _image(_SDXL, {"steps": 30}, lora={"model": "stillsuit-sdxl"})),
    Example(
        "sdxl_lora_controlnet_refiner",
        _image(
            _SDXL,
            {"steps": 30},
            lora={"model": "stillsuit-sdxl"},
            controlnet=_CANNY,
            refiner={"model": "stabilityai/stable-diffusion-xl-refiner-1.0"},
        ),
        "refiner",
        _NO,
    ),
    Example(
        "sdxl_lora_hf",
        _image({"name": _SDXL}, {"steps": 30}, lora={"model": "ostris/ikea-instructions-lora-sdxl"}),
    ),
    Example("sdxl_turbo", _image(_TURBO, _TURBO_STEP, scheduler=_FAST)),
    Example(
        "sdxl_turbo_lora_civitai",
        _image(_TURBO, _TURBO_STEP, scheduler=_FAST, lora={"model": f"{_CIVITAI}178048"}),
    ),
    Example(
        "sdxl_turbo_lora_controlnet",
        _image(_TURBO, _TURBO_STEP, scheduler=_FAST, lora={"model": f"{_CIVITAI}178048"}, controlnet=_CANNY),
    ),
    Example(
        "sdxl_turbo_lora_hf",
        _image(_TURBO, _TURBO_STEP, scheduler=_FAST, lora={"model": "CiroN2022/toy-face"}),
    ),
    Example("tagger", {"image_dataurl": _DATA, "model": "WD14 moat tagger v2"}, "image_dataurl", "tag a picture"),
)
"""One table for the features of images: an example that becomes a task loses its last two values."""
