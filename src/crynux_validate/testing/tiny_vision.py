"""Small vision-language models of random weights: the small Llama's words, and a picture in their midst."""

from typing import Any, Final

import torch
import transformers

from crynux_validate.testing import tiny_text
from crynux_validate.testing.tiny_base import fill

# Their constructors have no types, or wrong ones.
_transformers: Any = transformers

_SIDE: Final = 56
_PATCH: Final = 14
_WIDTH: Final = 64

_TEMPLATE: Final = (
    "<|begin|>"
    "{%%- for message in messages %%}"
    "{{- '<|' + message['role'] + '|>' }}"
    "{%%- for block in message['content'] %%}"
    "{%%- if block['type'] == 'image' %%}%s{%% else %%}{{ block['text'] }}{%% endif %%}"
    "{%%- endfor %%}<|end|>"
    "{%%- endfor %%}"
    "{%%- if add_generation_prompt %%}<|assistant|>{%% endif %%}"
)

_TEXT: Final = {
    "hidden_size": _WIDTH,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "tie_word_embeddings": False,
}

_GAINS: Final = {"lm_head": 2.0, "multi_modal_projector": 4.0, "merger": 4.0}
"""Pictures outweigh words, as they should where they are asked about."""


def llava(seed: int) -> tuple[Any, ...]:
    """Build a LLaVA in bfloat16 and its processor; see `tiny_models.tiny_vision_model`."""
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    tokenizer = _tokenizer("<image>", ("<image>",))
    config = _transformers.LlavaConfig(
        vision_config=_transformers.CLIPVisionConfig(
            hidden_size=_WIDTH, intermediate_size=128, num_hidden_layers=3, num_attention_heads=4, image_size=_SIDE,
            patch_size=_PATCH, projection_dim=_WIDTH,
        ),
        text_config=_transformers.LlamaConfig(vocab_size=len(tokenizer), **_ends(tokenizer), **_TEXT),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        tie_word_embeddings=False,
    )  # fmt: skip
    processor: Any = CLIPImageProcessorPil
    images = processor(size={"shortest_edge": _SIDE}, crop_size={"height": _SIDE, "width": _SIDE})
    both = _transformers.LlavaProcessor(
        images, tokenizer, patch_size=_PATCH, vision_feature_select_strategy="default", num_additional_image_tokens=1,
        chat_template=tokenizer.chat_template,
    )  # fmt: skip
    return _filled(_transformers.LlavaForConditionalGeneration, config, seed, 1), both


def qwen2_vl(seed: int) -> tuple[Any, ...]:
    """Build a Qwen2-VL in bfloat16, its tokenizer and its image processor; its processor cannot be made without videos.

    A picture of any shape is as many tokens as it has patches of 28 pixels.
    """
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    special = ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
    tokenizer = _tokenizer("<|vision_start|><|image_pad|><|vision_end|>", special)
    ids = dict(zip(special, tokenizer.convert_tokens_to_ids(list(special)), strict=True))
    config = _transformers.Qwen2VLConfig(
        vision_config={
            "depth": 2, "embed_dim": _WIDTH, "hidden_size": _WIDTH, "num_heads": 4, "mlp_ratio": 2,
            "patch_size": _PATCH,
        },
        text_config={
            "vocab_size": len(tokenizer), **_ends(tokenizer), **_TEXT,
            "rope_parameters": {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 10000.0},
        },
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
        tie_word_embeddings=False,
    )  # fmt: skip
    processor: Any = Qwen2VLImageProcessorPil
    images = processor(size={"shortest_edge": 28 * 28, "longest_edge": 112 * 112}, patch_size=_PATCH)
    return _filled(_transformers.Qwen2VLForConditionalGeneration, config, seed, 2), tokenizer, images


BUILD: Final = {"llava": llava, "qwen2_vl": qwen2_vl}


def _filled(kind: Any, config: Any, seed: int, image: int) -> Any:
    with torch.random.fork_rng(devices=[]):
        return fill(kind(config), seed, image, _GAINS).to(torch.bfloat16)


def _ends(tokenizer: Any) -> dict[str, Any]:
    return {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": None}


def _tokenizer(picture: str, special: tuple[str, ...]) -> Any:
    """The small Llama's tokenizer, with words for pictures."""
    tokenizer, _ = tiny_text.words()
    tokenizer.add_tokens(list(special), special_tokens=True)
    tokenizer.chat_template = _TEMPLATE % picture
    return tokenizer
