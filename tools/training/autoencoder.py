"""The autoencoder: it begins by shrinking and enlarging pictures, and learns to do better."""

from typing import Any, Final

import diffusers
import torch
from tools.training import pictures
from torch.nn import functional

# Its constructors have no types.
_diffusers: Any = diffusers

_KL: Final = 1e-4
"""Weight of each latent's divergence from a normal one."""

_KEPT: Final = 8
"""Channels that carry a picture at the start: each colour with both signs, and a constant with both signs."""

_CONSTANT: Final = 4.0
"""Larger than colours, so that norms leave these nearly as they are."""


def build(widths: list[int]) -> Any:
    """Return an autoencoder that makes 4 numbers of 8x8 pixels.

    A network of few channels takes long to learn what colour a flat picture is, since norms hide it. So this one begins
    as what shrinks a picture (three of the four numbers) and enlarges it again; edges are left to learn. Without
    attention it can learn from parts of pictures.

    Parameters
    ----------
    widths
        Channels from fine to coarse, 8 or more each.
    """
    model = _diffusers.AutoencoderKL(
        sample_size=pictures.SIDE,
        block_out_channels=tuple(widths),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=1,
        mid_block_add_attention=False,
    )
    with torch.no_grad():
        for coder in (model.encoder, model.decoder):
            _take(coder.conv_in)
            for name, part in coder.named_modules():
                if name.endswith(("conv_shortcut", "samplers.0.conv")):
                    _pass_on(part)
                elif name.endswith("conv2"):
                    # What a block adds is nothing yet.
                    part.weight.zero_()
                    part.bias.zero_()
            _give(coder.conv_out)
        model.encoder.conv_out.weight[4:] = 0
        model.encoder.conv_out.bias[4:] = -6
        for mixer in (model.quant_conv, model.post_quant_conv):
            mixer.weight.copy_(torch.eye(len(mixer.weight))[:, :, None, None])
            mixer.bias.zero_()
    return model


def calibrate(model: Any, target: torch.Tensor) -> None:
    """Give what the decoder makes of some pictures the contrast that they have."""
    with torch.no_grad():
        made = model.decode(model.encode(target).latent_dist.mean).sample
        model.decoder.conv_out.weight *= (made * target).sum() / made.square().sum()


def loss_of(model: Any, target: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Return the loss: absolute error, squared error, and divergence."""
    latents = model.encode(target).latent_dist
    noise = torch.randn(latents.mean.shape, generator=generator)
    made = model.decode(latents.mean + latents.std * noise).sample
    divergence = latents.kl().mean() / latents.mean[0].numel()
    loss: torch.Tensor = functional.l1_loss(made, target) + functional.mse_loss(made, target) + _KL * divergence
    return loss


def _take(conv: Any) -> None:
    """Write each of three colours into two channels, with both signs; two more are constants."""
    conv.weight[:_KEPT] = 0
    conv.bias[:_KEPT] = 0
    for colour in range(3):
        conv.weight[2 * colour, colour, 1, 1] = 1
        conv.weight[2 * colour + 1, colour, 1, 1] = -1
    conv.bias[_KEPT - 2], conv.bias[_KEPT - 1] = _CONSTANT, -_CONSTANT


def _pass_on(conv: Any) -> None:
    """Hand these channels on as they are, or as the mean of 2x2 pixels where the picture shrinks."""
    conv.weight[:_KEPT] = 0
    conv.bias[:_KEPT] = 0
    taps = [(y, x) for y in (0, 1) for x in (0, 1)] if conv.stride == (2, 2) else [(conv.kernel_size[0] // 2,) * 2]
    for channel in range(_KEPT):
        for y, x in taps:
            conv.weight[channel, channel, y, x] = 1 / len(taps)


def _give(conv: Any) -> None:
    """Read the three colours back: silu(x) - silu(-x) is x."""
    conv.weight[:3] = 0
    conv.bias[:3] = 0
    for colour in range(3):
        conv.weight[colour, 2 * colour, 1, 1] = 1
        conv.weight[colour, 2 * colour + 1, 1, 1] = -1
