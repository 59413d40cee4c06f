"""What the tiny models are made of: networks of a few channels, filled with this library's own noise.

A network of random weights has no reason to paint anything. These are scaled so that it does: the UNet's prediction
outweighs the noise that it starts from, text and time weigh heavily in it, and details that would bypass its coarse
levels are damped; so pictures have large shapes that depend on prompt, seed and steps. The decoder mostly blurs, or
every picture would be a weave of its random kernels.
"""

from pathlib import Path
from typing import Any, Final

import diffusers
import torch
import transformers
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from crynux_validate.testing.tiny_base import CLIP_TOKENS, WORDS, clip_tokenizer, fill

# Their constructors have no types, or wrong ones.
_diffusers: Any = diffusers
_transformers: Any = transformers

WIDTH: Final = 32
"""Channels of the text encoders, and of the UNet's finest level."""

# Factors on the usual 1/sqrt(inputs), by a part of the parameter's name; found by trying. Attention is what amplifies:
# sharper attention tells cheats from honest runs better, until rounding errors grow to other pictures too (at 4).
_UNET_GAINS: Final = {
    "conv_out": 5.0,
    "time_emb_proj": 6.0,
    "attn1.to_out": 2.0,
    "attn1.to_q": 2.0,
    "attn1.to_k": 2.0,
    "attn2.to_out": 2.0,
    "attn2.to_q": 3.0,
    "attn2.to_k": 3.0,
}
_VAE_GAINS: Final = {"conv_out": 0.5}
_CONTROL_GAINS: Final = {"controlnet_cond_embedding": 2.5, "controlnet_down": 0.7, "controlnet_mid": 0.7}
_SKIP: Final = 0.2

_BETAS: Final = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}

# Each network draws from an image number of its own.
_UNET, _VAE, TEXT, TEXT_2, _SAFETY, _CONTROL = range(6)
_REFINER = 10  # the flows have those between


def stable_diffusion(seed: int, *, safety_checker: bool = False) -> Any:
    """Build a `StableDiffusionPipeline`; see `tiny_models.tiny_image_model`."""
    with torch.random.fork_rng(devices=[]):
        tokenizer = small_tokenizer()
        parts: dict[str, Any] = {
            "tokenizer": tokenizer,
            "text_encoder": fill(CLIPTextModel(text_config(tokenizer)), seed, TEXT),
            "unet": _unet(seed, cross_attention_dim=WIDTH),
            "vae": small_vae(seed, scaling_factor=0.18215),
            "scheduler": _diffusers.DDIMScheduler(**_BETAS, clip_sample=False, set_alpha_to_one=False),
            "safety_checker": None,
            "feature_extractor": None,
        }
        if safety_checker:
            parts |= _safety(seed)
        return _diffusers.StableDiffusionPipeline(**parts, requires_safety_checker=safety_checker)


def stable_diffusion_xl(seed: int) -> Any:
    """Build a `StableDiffusionXLPipeline`; see `tiny_models.tiny_sdxl_model`."""
    sizes, size_channels = 6, 8
    with torch.random.fork_rng(devices=[]):
        tokenizer = small_tokenizer()
        config = text_config(tokenizer)
        return _diffusers.StableDiffusionXLPipeline(
            tokenizer=tokenizer,
            tokenizer_2=small_tokenizer(),
            text_encoder=fill(CLIPTextModel(config), seed, TEXT),
            text_encoder_2=fill(CLIPTextModelWithProjection(config), seed, TEXT_2),
            unet=_unet(
                seed,
                cross_attention_dim=2 * WIDTH,
                addition_embed_type="text_time",
                addition_time_embed_dim=size_channels,
                projection_class_embeddings_input_dim=sizes * size_channels + WIDTH,
            ),
            vae=small_vae(seed, scaling_factor=0.13025),
            scheduler=_diffusers.EulerDiscreteScheduler(**_BETAS, timestep_spacing="leading"),
            add_watermarker=False,
        )


def refiner(seed: int) -> Any:
    """Build a `StableDiffusionXLImg2ImgPipeline` for the last steps; see `tiny_models.tiny_refiner_model`."""
    numbers, number_channels = 5, 8
    with torch.random.fork_rng(devices=[]):
        tokenizer = small_tokenizer()
        unet = _unet(
            seed,
            _REFINER,
            cross_attention_dim=WIDTH,
            addition_embed_type="text_time",
            addition_time_embed_dim=number_channels,
            projection_class_embeddings_input_dim=numbers * number_channels + WIDTH,
        )
        return _diffusers.StableDiffusionXLImg2ImgPipeline(
            tokenizer=None,
            tokenizer_2=tokenizer,
            text_encoder=None,
            text_encoder_2=fill(CLIPTextModelWithProjection(text_config(tokenizer)), seed, TEXT_2),
            unet=unet,
            vae=small_vae(seed, scaling_factor=0.13025),
            scheduler=_diffusers.EulerDiscreteScheduler(**_BETAS, timestep_spacing="leading"),
            requires_aesthetics_score=True,
            force_zeros_for_empty_prompt=False,
            add_watermarker=False,
        )


def controlnet(unet: Path, seed: int) -> Any:
    """Build a `ControlNetModel` for the UNet whose configuration lies in a folder."""
    with torch.random.fork_rng(devices=[]):
        network = _diffusers.UNet2DConditionModel
        with torch.device("meta"):
            skeleton = network.from_config(network.load_config(unet))
        net = _diffusers.ControlNetModel.from_unet(skeleton, load_weights_from_unet=False)
        return fill(net, seed, _CONTROL, _CONTROL_GAINS)


def small_tokenizer() -> Any:
    """Build a CLIP tokenizer."""
    return clip_tokenizer(WORDS.split())


def text_config(tokenizer: Any) -> CLIPTextConfig:
    """Return the configuration of a CLIP text encoder."""
    return CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        intermediate_size=2 * WIDTH,
        projection_dim=WIDTH,
        num_attention_heads=4,
        num_hidden_layers=2,
        max_position_embeddings=CLIP_TOKENS,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def _unet(seed: int, image: int = _UNET, **config: Any) -> Any:
    """Build a UNet for latents of 32x32, with cross attention at 16x16 and 8x8."""
    unet = _diffusers.UNet2DConditionModel(
        sample_size=32,
        block_out_channels=(WIDTH, 2 * WIDTH, 2 * WIDTH),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        norm_num_groups=8,
        attention_head_dim=8,
        **config,
    )
    fill(unet, seed, image, _UNET_GAINS)
    channels = unet.config.block_out_channels[-1]
    with torch.no_grad():
        for block in unet.up_blocks:
            for layer in block.resnets:
                # Its input is what comes from the coarser level, followed by the skip connection.
                layer.norm1.weight[channels:] *= _SKIP
                layer.norm1.bias[channels:] *= _SKIP
                layer.conv_shortcut.weight[:, channels:] *= _SKIP
                channels = layer.out_channels
    return unet


def small_vae(seed: int, scaling_factor: float, channels: int = 4, **config: Any) -> Any:
    """Build a VAE for latents of some channels, an eighth of the picture's sides."""
    vae = _diffusers.AutoencoderKL(
        sample_size=256,
        block_out_channels=(WIDTH // 2, WIDTH, WIDTH, WIDTH),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=channels,
        norm_num_groups=8,
        scaling_factor=scaling_factor,
        **config,
    )
    return fill(vae, seed, _VAE, _VAE_GAINS, blurred="decoder.")


def _safety(seed: int) -> dict[str, Any]:
    """Build a safety checker; its thresholds stay at a cosine of 1, so that it finds nothing."""
    from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker

    vision = {
        "hidden_size": WIDTH,
        "intermediate_size": 2 * WIDTH,
        "num_attention_heads": 4,
        "num_hidden_layers": 1,
        "image_size": 32,
        "patch_size": 8,
        "projection_dim": WIDTH,
    }
    checker = StableDiffusionSafetyChecker(_transformers.CLIPConfig(vision_config=vision, projection_dim=WIDTH))
    fill(checker, seed, _SAFETY)
    with torch.no_grad():
        checker.concept_embeds_weights.fill_(1)
        checker.special_care_embeds_weights.fill_(1)
    processor = _transformers.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    return {"safety_checker": checker, "feature_extractor": processor}
