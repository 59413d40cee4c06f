"""A small Stable Diffusion: its parts, how they are trained, and what they learn from."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

import diffusers
import numpy as np
import numpy.typing as npt
import torch
import transformers
from tools.training import pictures

from crynux_validate.testing.tiny_base import CLIP_TOKENS, WORDS, clip_tokenizer

# Their constructors have no types, or wrong ones.
_diffusers: Any = diffusers
_transformers: Any = transformers

_TEXT_WIDTH: Final = 64
_GROUPS: Final = 8
_MOST_SIGNAL: Final = 5.0
"""Errors of a picture weigh by 1 + the ratio of signal to noise, at most by this; after arXiv 2303.09556."""

_UNTOLD: Final = 0.1
"""How often a picture is learned without its prompt, for classifier-free guidance (arXiv 2207.12598)."""


def tokenizer() -> Any:
    """Return a `CLIPTokenizer` that knows the words of prompts, and the random model's."""
    told = [*pictures.COLOURS, *pictures.BACKGROUNDS, *pictures.SHAPES, *pictures.SIZES, *pictures.PLACES]
    return clip_tokenizer(dict.fromkeys(f"{' '.join(told)} a an on picture of background {WORDS}".split()))


def text_encoder(words: Any) -> Any:
    """Return a `CLIPTextModel` that has learned nothing."""
    config = _transformers.CLIPTextConfig(
        vocab_size=len(words),
        hidden_size=_TEXT_WIDTH,
        intermediate_size=2 * _TEXT_WIDTH,
        projection_dim=_TEXT_WIDTH,
        num_attention_heads=4,
        num_hidden_layers=2,
        max_position_embeddings=CLIP_TOKENS,
        bos_token_id=words.bos_token_id,
        eos_token_id=words.eos_token_id,
        pad_token_id=words.pad_token_id,
    )
    return _transformers.CLIPTextModel(config)


def unet(widths: Sequence[int]) -> Any:
    """Return a UNet for latents of 16x16, with attention at 8x8, that has learned nothing."""
    return _diffusers.UNet2DConditionModel(
        sample_size=pictures.SIDE // 8,
        block_out_channels=tuple(widths),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        norm_num_groups=_GROUPS,
        attention_head_dim=16,
        cross_attention_dim=_TEXT_WIDTH,
    )


def scheduler() -> Any:
    """Return the schedule of noise: Stable Diffusion's, for a network that predicts v (arXiv 2202.00512)."""
    return _diffusers.DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        steps_offset=1,
        clip_sample=False,
        set_alpha_to_one=False,
        prediction_type="v_prediction",
        timestep_spacing="trailing",
    )


def drawn(count: int, seed: int) -> tuple[list[pictures.Scene], npt.NDArray[np.uint8]]:
    """Draw scenes; the pictures are (count, 128, 128, 3)."""
    generator = np.random.default_rng(seed)
    scenes = [pictures.draw_scene(generator) for _ in range(count)]
    return scenes, np.stack([pictures.draw(scene, generator) for scene in scenes])


def as_tensor(values: npt.NDArray[np.uint8]) -> torch.Tensor:
    """Return pictures as (n, 3, height, width), -1 to 1."""
    scaled = torch.from_numpy(values).permute(0, 3, 1, 2).float() / 127.5 - 1
    return scaled.contiguous(memory_format=torch.channels_last)


def parts_of(values: npt.NDArray[np.uint8], count: int, side: int, generator: torch.Generator) -> torch.Tensor:
    """Cut squares out of pictures at random."""
    which = torch.randint(len(values), (count,), generator=generator).tolist()
    rows, columns = torch.randint(pictures.SIDE - side + 1, (2, count), generator=generator).tolist()
    cut = [values[i, y : y + side, x : x + side] for i, y, x in zip(which, rows, columns, strict=True)]
    return as_tensor(np.stack(cut))


def encode(model: Any, values: npt.NDArray[np.uint8]) -> tuple[torch.Tensor, float]:
    """Return pictures as latents of mean square 1, (n, 4, 16, 16), and the factor that makes them so."""
    with torch.inference_mode():
        found = [model.encode(as_tensor(values[i : i + 32])).latent_dist.mean for i in range(0, len(values), 32)]
    latents = torch.cat(found)
    factor = 1 / float(latents.square().mean().sqrt())
    return (latents * factor).clone(), factor


class Prompts:
    """Draws prompts for scenes, in varied words, and turns them into tokens.

    Parameters
    ----------
    words
        The tokenizer.
    scenes
        What the pictures show.
    """

    def __init__(self, words: Any, scenes: Sequence[pictures.Scene]) -> None:
        self._words = words
        self._scenes = scenes
        self._known: dict[str, list[int]] = {}

    def tokens(self, chosen: torch.Tensor, generator: np.random.Generator) -> torch.Tensor:
        """Return the tokens of some scenes, (n, 77); now and then those of no words."""
        texts = [pictures.prompt_of(self._scenes[i], generator) for i in chosen.tolist()]
        return torch.tensor([self._ids("" if generator.random() < _UNTOLD else text) for text in texts])

    def _ids(self, text: str) -> list[int]:
        if text not in self._known:
            self._known[text] = self._words(text, padding="max_length", truncation=True).input_ids
        return self._known[text]


def unet_loss(
    model: Any, encoder: Any, schedule: Any, latents: torch.Tensor, tokens: torch.Tensor, generator: torch.Generator
) -> torch.Tensor:
    """Return the loss of predicting v at random steps."""
    count = len(latents)
    # One step from each of `count` equal parts of the schedule: less noise in the loss.
    steps = ((torch.arange(count) + torch.rand(count, generator=generator)) / count * 1000).long().clamp(max=999)
    noise = torch.randn(latents.shape, generator=generator)
    noisy = schedule.add_noise(latents, noise, steps)
    target = schedule.get_velocity(latents, noise, steps)
    alphas = schedule.alphas_cumprod[steps]
    ratio = 1 + alphas / (1 - alphas)
    weight = ratio.clamp(max=_MOST_SIGNAL) / ratio
    states = encoder(input_ids=tokens).last_hidden_state
    found = model(noisy.contiguous(memory_format=torch.channels_last), steps, states).sample
    errors = (found - target).square().mean(dim=(1, 2, 3))
    loss: torch.Tensor = (weight * errors).sum() / weight.sum()
    return loss


class Average:
    """A moving average of networks' parameters, which draws better than the last ones.

    Parameters
    ----------
    modules
        The networks.
    decay
        The part that stays at each step; smaller in the first ones.
    """

    def __init__(self, modules: Sequence[torch.nn.Module], decay: float = 0.998) -> None:
        self._parameters = [parameter for module in modules for parameter in module.parameters()]
        self.values = [parameter.detach().clone() for parameter in self._parameters]
        self._decay = decay

    def update(self, step: int) -> None:
        """Move towards the present parameters."""
        keep = min(self._decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self.values, [parameter.detach() for parameter in self._parameters], 1 - keep)

    def put(self) -> None:
        """Make the average the networks' parameters."""
        with torch.no_grad():
            for parameter, value in zip(self._parameters, self.values, strict=True):
                parameter.copy_(value)


def ask(seed: int, count: int) -> Iterator[tuple[pictures.Scene, str]]:
    """Yield scenes and their prompts, which no training draws (its generator starts elsewhere)."""
    generator = np.random.default_rng([seed, 1])
    for _ in range(count):
        scene = pictures.draw_scene(generator)
        yield scene, pictures.prompt_of(scene)
