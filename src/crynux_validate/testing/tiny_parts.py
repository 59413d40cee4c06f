"""What the tiny models are made of: networks of a few channels, filled with this library's own noise.

A network of random weights has no reason to paint anything. These are scaled so that it does: the UNet's prediction
outweighs the noise that it starts from, text and time weigh heavily in it, and details that would bypass its coarse
levels are damped; so pictures have large shapes that depend on prompt, seed and steps. The decoder mostly blurs, or
every picture would be a weave of its random kernels.
"""

import math
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import diffusers
import numpy as np
import numpy.typing as npt
import torch
import transformers
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from crynux_validate.pipelines.noise import Purpose, normal

# Their constructors have no types, or wrong ones.
_diffusers: Any = diffusers
_transformers: Any = transformers

_WORDS: Final = (
    "a an the of in on at and with by under over red green blue yellow black white small big old new bright dark "
    "cat dog bird fish horse tree forest flower river lake sea mountain sky sun moon star cloud rain snow fire stone "
    "house castle city street bridge boat car train garden man woman child king queen robot dragon photo painting "
    "drawing portrait landscape night day morning evening summer winter sleeping running flying ugly blurry"
)
"""Words that are one token; everything else is spelt in parts of them, in letters, or in bytes."""

_TOKENS: Final = 77
_WIDTH: Final = 32
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
_SKIP: Final = 0.2
_BLUR: Final = 0.9

_BETAS: Final = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}

# Each network draws from an image number of its own.
_UNET, _VAE, _TEXT, _TEXT_2, _SAFETY = range(5)


def stable_diffusion(seed: int, *, safety_checker: bool = False) -> Any:
    """Build a `StableDiffusionPipeline`; see `tiny_models.tiny_image_model`."""
    with torch.random.fork_rng(devices=[]):
        tokenizer = _tokenizer()
        parts: dict[str, Any] = {
            "tokenizer": tokenizer,
            "text_encoder": _fill(CLIPTextModel(_text_config(tokenizer)), seed, _TEXT),
            "unet": _unet(seed, cross_attention_dim=_WIDTH),
            "vae": _vae(seed, scaling_factor=0.18215),
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
        tokenizer = _tokenizer()
        config = _text_config(tokenizer)
        return _diffusers.StableDiffusionXLPipeline(
            tokenizer=tokenizer,
            tokenizer_2=_tokenizer(),
            text_encoder=_fill(CLIPTextModel(config), seed, _TEXT),
            text_encoder_2=_fill(CLIPTextModelWithProjection(config), seed, _TEXT_2),
            unet=_unet(
                seed,
                cross_attention_dim=2 * _WIDTH,
                addition_embed_type="text_time",
                addition_time_embed_dim=size_channels,
                projection_class_embeddings_input_dim=sizes * size_channels + _WIDTH,
            ),
            vae=_vae(seed, scaling_factor=0.13025),
            scheduler=_diffusers.EulerDiscreteScheduler(**_BETAS, timestep_spacing="leading"),
            add_watermarker=False,
        )


def save(pipeline: Any, folder: Path) -> None:
    """Write a pipeline as `from_pretrained` reads it, without progress bars for files of a few kilobytes."""
    logging = _transformers.utils.logging
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        pipeline.save_pretrained(folder, safe_serialization=True)
    finally:
        if shown:
            logging.enable_progress_bar()


def _tokenizer() -> Any:
    """Build a CLIP tokenizer that knows `_WORDS` and every byte, so that any text has tokens."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    # GPT-2's table: a byte that cannot be printed stands as a character from 256 on.
    symbols = [chr(byte) for byte in printable] + [chr(256 + i) for i in range(256 - len(printable))]
    vocabulary = {symbol: i for i, symbol in enumerate([*symbols, *(f"{symbol}</w>" for symbol in symbols)])}
    merges: dict[tuple[str, str], int] = {}
    for word in _WORDS.split():
        # Later merges are tried after earlier ones, so they never take a word apart that is whole already.
        parts = _merged([*word[:-1], f"{word[-1]}</w>"], merges)
        while len(parts) > 1:
            merges[parts[0], parts[1]] = len(merges)
            vocabulary.setdefault(parts[0] + parts[1], len(vocabulary))
            parts = _merged(parts, merges)
    for special in ("<|startoftext|>", "<|endoftext|>"):
        vocabulary[special] = len(vocabulary)
    return _transformers.CLIPTokenizer(vocab=vocabulary, merges=[*merges], model_max_length=_TOKENS)


def _merged(parts: list[str], merges: Mapping[tuple[str, str], int]) -> list[str]:
    """Apply byte-pair merges to the parts of a word, the earliest one first."""
    while pairs := [(merges[pair], i) for i, pair in enumerate(pairwise(parts)) if pair in merges]:
        _, i = min(pairs)
        parts = [*parts[:i], parts[i] + parts[i + 1], *parts[i + 2 :]]
    return parts


def _text_config(tokenizer: Any) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=_WIDTH,
        intermediate_size=2 * _WIDTH,
        projection_dim=_WIDTH,
        num_attention_heads=4,
        num_hidden_layers=2,
        max_position_embeddings=_TOKENS,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def _unet(seed: int, **config: Any) -> Any:
    """Build a UNet for latents of 32x32, with cross attention at 16x16 and 8x8."""
    unet = _diffusers.UNet2DConditionModel(
        sample_size=32,
        block_out_channels=(_WIDTH, 2 * _WIDTH, 2 * _WIDTH),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        norm_num_groups=8,
        attention_head_dim=8,
        **config,
    )
    _fill(unet, seed, _UNET, _UNET_GAINS)
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


def _vae(seed: int, scaling_factor: float) -> Any:
    vae = _diffusers.AutoencoderKL(
        sample_size=256,
        block_out_channels=(_WIDTH // 2, _WIDTH, _WIDTH, _WIDTH),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=4,
        norm_num_groups=8,
        scaling_factor=scaling_factor,
    )
    return _fill(vae, seed, _VAE, _VAE_GAINS, blurred="decoder.")


def _safety(seed: int) -> dict[str, Any]:
    """Build a safety checker; its thresholds stay at a cosine of 1, so that it finds nothing."""
    from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker

    vision = {
        "hidden_size": _WIDTH,
        "intermediate_size": 2 * _WIDTH,
        "num_attention_heads": 4,
        "num_hidden_layers": 1,
        "image_size": 32,
        "patch_size": 8,
        "projection_dim": _WIDTH,
    }
    checker = StableDiffusionSafetyChecker(_transformers.CLIPConfig(vision_config=vision, projection_dim=_WIDTH))
    _fill(checker, seed, _SAFETY)
    with torch.no_grad():
        checker.concept_embeds_weights.fill_(1)
        checker.special_care_embeds_weights.fill_(1)
    processor = _transformers.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    return {"safety_checker": checker, "feature_extractor": processor}


def _fill(
    module: nn.Module, seed: int, image: int, gains: Mapping[str, float] | None = None, *, blurred: str | None = None
) -> Any:
    """Fill a network with noise, parameter by parameter in the order of their names, and set it to evaluation.

    Parameters
    ----------
    seed, image
        Of the noise; the number of the draw is that of the parameter.
    gains
        Factors by a part of the parameter's name.
    blurred
        The start of the names whose 3x3 kernels become mostly a blur.
    """
    embeddings = {f"{name}.weight" for name, part in module.named_modules() if isinstance(part, nn.Embedding)}
    for draw, (name, parameter) in enumerate(sorted(module.named_parameters())):
        shape = tuple(parameter.shape)
        values = normal(seed, image=image, draw=draw, shape=shape, purpose=Purpose.WEIGHTS)
        gain = next((factor for part, factor in (gains or {}).items() if part in name), 1.0)
        if len(shape) >= 2:
            inputs = 1 if name in embeddings else math.prod(shape[1:])
            values *= np.float32(gain / math.sqrt(inputs))
            if blurred is not None and name.startswith(blurred) and shape[2:] == (3, 3):
                values = _blur(values)
        elif name.endswith("bias"):
            values *= np.float32(0.1 * gain)
        else:
            values = np.float32(1) + np.float32(0.1) * values
        with torch.no_grad():
            parameter.copy_(torch.from_numpy(np.asarray(values)))
    return module.eval()


def _blur(kernels: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Mix each 3x3 kernel with a blur of its centre's sign and size; the mean square stays about the same."""
    side = np.array([0.5, 1.0, 0.5])
    window = np.outer(side, side)
    window *= 3 / math.sqrt(float((window * window).sum()))
    centre = kernels[:, :, 1:2, 1:2].astype(np.float64)
    mixed = _BLUR * centre * window + math.sqrt(1 - _BLUR**2) * kernels
    return mixed.astype(np.float32)
