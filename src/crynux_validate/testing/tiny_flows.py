"""Small models that predict a flow: Stable Diffusion 3.5, FLUX.1 and FLUX.2, Z-Image and Qwen-Image, of random weights.

Their text weighs heavily, as in `tiny_image`, so that pictures depend on the prompt.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

import diffusers
import torch
import transformers
from transformers import CLIPTextModel, CLIPTextModelWithProjection

from crynux_validate.testing.tiny_base import WORDS, byte_pairs, fill
from crynux_validate.testing.tiny_image import TEXT, TEXT_2, WIDTH, small_tokenizer, small_vae, text_config

# Their constructors have no types, or wrong ones.
_diffusers: Any = diffusers
_transformers: Any = transformers

_T5_WIDTH: Final = 2 * WIDTH
"""SD 3 puts what both CLIP encoders say side by side, and T5 below it."""

_CHANNELS: Final = 16
# Each network draws from an image number of its own, other than those of `tiny_image`.
_TRANSFORMER, _TEXT_3, _QWEN, _VAE_2 = range(5, 9)

_GAINS: Final = {
    "proj_out": 2.0, "all_final_layer": 2.0, "context_embedder": 4.0, "cap_embedder": 4.0, "txt_in": 4.0,
}  # fmt: skip

_END, _START, _STOP = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
_TEMPLATE: Final = (
    "{%- for message in messages %}"
    f"{{{{- '{_START}' + message['role'] + '\\n' + message['content'] + '{_STOP}\\n' }}}}"
    "{%- endfor %}"
    f"{{%- if add_generation_prompt %}}{{{{- '{_START}assistant\\n' }}}}{{% endif %}}"
    "{%- if not enable_thinking %}{{- '<think></think>' }}{% endif %}"
)


def _stable_diffusion_3(seed: int) -> Any:
    tokenizer = small_tokenizer()
    config = text_config(tokenizer)
    transformer = _diffusers.SD3Transformer2DModel(
        sample_size=64,
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=4,
        joint_attention_dim=_T5_WIDTH,
        caption_projection_dim=WIDTH,
        pooled_projection_dim=2 * WIDTH,
        pos_embed_max_size=64,
        dual_attention_layers=(0,),
        qk_norm="rms_norm",
    )
    return _diffusers.StableDiffusion3Pipeline(
        tokenizer=tokenizer,
        tokenizer_2=small_tokenizer(),
        tokenizer_3=_t5_tokenizer(),
        text_encoder=fill(CLIPTextModelWithProjection(config), seed, TEXT),
        text_encoder_2=fill(CLIPTextModelWithProjection(config), seed, TEXT_2),
        text_encoder_3=_t5(seed),
        transformer=fill(transformer, seed, _TRANSFORMER, _GAINS),
        vae=_vae(seed, 1.5305, 0.0609),
        scheduler=_diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0),
    )


def _flux(seed: int, *, told: bool = True) -> Any:
    tokenizer = small_tokenizer()
    transformer = _diffusers.FluxTransformer2DModel(
        in_channels=4 * _CHANNELS,
        num_layers=1,
        num_single_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=_T5_WIDTH,
        pooled_projection_dim=WIDTH,
        guidance_embeds=told,
        axes_dims_rope=(4, 6, 6),
    )
    return _diffusers.FluxPipeline(
        tokenizer=tokenizer,
        tokenizer_2=_t5_tokenizer(),
        text_encoder=fill(CLIPTextModel(text_config(tokenizer)), seed, TEXT),
        text_encoder_2=_t5(seed),
        transformer=fill(transformer, seed, _TRANSFORMER, _GAINS),
        vae=_vae(seed, 0.3611, 0.1159),
        scheduler=_diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0 if told else 1.0, use_dynamic_shifting=told),
    )


def _z_image(seed: int) -> Any:
    tokenizer = _qwen_tokenizer()
    encoder = _transformers.Qwen3Model(_qwen_3(tokenizer, 3))
    transformer = _diffusers.ZImageTransformer2DModel(
        in_channels=_CHANNELS,
        dim=WIDTH,
        n_layers=2,
        n_refiner_layers=1,
        n_heads=2,
        n_kv_heads=2,
        cap_feat_dim=WIDTH,
        axes_dims=[8, 4, 4],
        axes_lens=[1024, 256, 256],
    )
    return _diffusers.ZImagePipeline(
        tokenizer=tokenizer,
        text_encoder=fill(encoder, seed, _QWEN),
        transformer=fill(transformer, seed, _TRANSFORMER, _GAINS),
        vae=_vae(seed, 0.3611, 0.1159),
        scheduler=_diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0),
    )


def _flux_2_klein(seed: int) -> Any:
    tokenizer = _qwen_tokenizer()
    transformer = _diffusers.Flux2Transformer2DModel(
        in_channels=4 * _CHANNELS,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=3 * WIDTH,
        timestep_guidance_channels=WIDTH,
        mlp_ratio=2.0,
        axes_dims_rope=(4, 4, 4, 4),
        guidance_embeds=False,
    )
    vae = _diffusers.AutoencoderKLFlux2(
        block_out_channels=(WIDTH // 2, WIDTH, WIDTH, WIDTH), latent_channels=_CHANNELS, norm_num_groups=8
    )
    fill(vae, seed, _VAE_2, {"conv_out": 0.5}, blurred="decoder.")
    vae.bn.running_mean.copy_(torch.linspace(-0.5, 0.5, 4 * _CHANNELS))
    vae.bn.running_var.copy_(torch.linspace(0.5, 2.0, 4 * _CHANNELS))
    return _diffusers.Flux2KleinPipeline(
        tokenizer=tokenizer,
        # The pipeline reads the hidden states after layers 9, 18 and 27.
        text_encoder=fill(_transformers.Qwen3ForCausalLM(_qwen_3(tokenizer, 28)), seed, _QWEN),
        transformer=fill(transformer, seed, _TRANSFORMER, _GAINS),
        vae=vae,
        scheduler=_diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True),
    )


def _qwen_image(seed: int) -> Any:
    tokenizer = _qwen_tokenizer()
    sizes = {"hidden_size": WIDTH, "intermediate_size": 2 * WIDTH}
    encoder = _transformers.Qwen2_5_VLForConditionalGeneration(
        _transformers.Qwen2_5_VLConfig(
            text_config={
                **sizes, "vocab_size": len(tokenizer), "num_hidden_layers": 2, "num_attention_heads": 4,
                "num_key_value_heads": 2, "bos_token_id": None, "eos_token_id": tokenizer.eos_token_id,
                "pad_token_id": None,
                "rope_parameters": {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 10000.0},
            },
            vision_config={**sizes, "depth": 1, "num_heads": 2, "out_hidden_size": WIDTH, "fullatt_block_indexes": [0]},
        )
    )  # fmt: skip
    transformer = _diffusers.QwenImageTransformer2DModel(
        in_channels=4 * _CHANNELS,
        out_channels=_CHANNELS,
        num_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=WIDTH,
        axes_dims_rope=(4, 6, 6),
    )
    vae = _diffusers.AutoencoderKLQwenImage(base_dim=8, z_dim=_CHANNELS)
    return _diffusers.QwenImagePipeline(
        tokenizer=tokenizer,
        text_encoder=fill(encoder, seed, _QWEN),
        transformer=fill(transformer, seed, _TRANSFORMER, _GAINS),
        vae=fill(vae, seed, _VAE_2),
        scheduler=_diffusers.FlowMatchEulerDiscreteScheduler(
            use_dynamic_shifting=True, max_image_seq_len=8192, max_shift=0.9, shift_terminal=0.02
        ),
    )


def _qwen_3(tokenizer: Any, layers: int) -> Any:
    return _transformers.Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        intermediate_size=2 * WIDTH,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        max_position_embeddings=1024,
    )


def _vae(seed: int, scale: float, shift: float) -> Any:
    return small_vae(seed, scale, _CHANNELS, shift_factor=shift, use_quant_conv=False, use_post_quant_conv=False)


def _t5(seed: int) -> Any:
    config = _transformers.T5Config(
        vocab_size=len(_t5_tokenizer()),
        d_model=_T5_WIDTH,
        d_kv=16,
        d_ff=2 * _T5_WIDTH,
        num_layers=2,
        num_heads=4,
        feed_forward_proj="gated-gelu",
    )
    return fill(_transformers.T5EncoderModel(config), seed, _TEXT_3)


def _t5_tokenizer() -> Any:
    """Build a tokenizer that knows some words, and every printable character of Latin-1."""
    letters = [chr(code) for code in (*range(33, 127), *range(161, 256))]
    pieces = ["<pad>", "</s>", "<unk>", "\u2581", *(f"\u2581{word}" for word in WORDS.split()), *letters]
    scores = [0.0] * 3 + [-2.0] + [-4.0] * len(WORDS.split()) + [-8.0] * len(letters)
    vocabulary = list(zip(pieces, scores, strict=True))
    return _transformers.T5Tokenizer(vocab=vocabulary, extra_ids=0, model_max_length=512)


def _qwen_tokenizer() -> Any:
    vocabulary, merges = byte_pairs(WORDS.split())
    for special in (_END, _START, _STOP):
        vocabulary[special] = len(vocabulary)
    return _transformers.Qwen2Tokenizer(
        vocab=vocabulary,
        merges=merges,
        additional_special_tokens=[_START, _STOP],
        chat_template=_TEMPLATE,
        model_max_length=1024,
    )


def _quiet_chance(build: Callable[[int], Any]) -> Callable[[int], Any]:
    """Weights are drawn at random before they are filled: leave torch's generator as it was."""

    def built(seed: int) -> Any:
        with torch.random.fork_rng(devices=[]):
            return build(seed)

    return built


BUILDERS: Final[Mapping[str, Callable[[int], Any]]] = {
    "sd3": _quiet_chance(_stable_diffusion_3),
    "flux": _quiet_chance(_flux),
    "flux-schnell": _quiet_chance(lambda seed: _flux(seed, told=False)),
    "z-image": _quiet_chance(_z_image),
    "flux-2-klein": _quiet_chance(_flux_2_klein),
    "qwen-image": _quiet_chance(_qwen_image),
}
"""For each family what builds its pipeline from a seed; see `tiny_models.tiny_flow_model`."""
