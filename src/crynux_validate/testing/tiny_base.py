"""What tiny models of every kind are made of: this library's own noise as weights, and words as tokens."""

import math
from collections.abc import Iterable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
import transformers
from torch import nn

from crynux_validate.pipelines.noise import Purpose, normal

# Its functions have no types.
_transformers: Any = transformers

WORDS: Final = (
    "a an the of in on at and with by under over red green blue yellow black white small big old new bright dark "
    "cat dog bird fish horse tree forest flower river lake sea mountain sky sun moon star cloud rain snow fire stone "
    "house castle city street bridge boat car train garden man woman child king queen robot dragon photo painting "
    "drawing portrait landscape night day morning evening summer winter sleeping running flying ugly blurry"
)
"""Words that are one token; everything else is spelt in parts of them, in letters, or in bytes."""

CLIP_TOKENS: Final = 77
"""How long a prompt is to Stable Diffusion's text encoders."""

_BLUR: Final = 0.9


def byte_symbols() -> list[str]:
    """Return GPT-2's character for each byte: one that cannot be printed stands as a character from 256 on."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return [chr(byte) for byte in printable] + [chr(256 + i) for i in range(256 - len(printable))]


def merged(parts: list[str], merges: Mapping[tuple[str, str], int]) -> list[str]:
    """Apply byte-pair merges to the parts of a word, the earliest one first."""
    while pairs := [(merges[pair], i) for i, pair in enumerate(pairwise(parts)) if pair in merges]:
        _, i = min(pairs)
        parts = [*parts[:i], parts[i] + parts[i + 1], *parts[i + 2 :]]
    return parts


def clip_tokenizer(words: Iterable[str]) -> Any:
    """Build a `CLIPTokenizer` that knows some words and every byte, so that any text has tokens; 77 of them at most."""
    symbols = byte_symbols()
    vocabulary = {symbol: i for i, symbol in enumerate([*symbols, *(f"{symbol}</w>" for symbol in symbols)])}
    merges: dict[tuple[str, str], int] = {}
    for word in words:
        # Later merges are tried after earlier ones, so they never take a word apart that is whole already.
        parts = merged([*word[:-1], f"{word[-1]}</w>"], merges)
        while len(parts) > 1:
            merges[parts[0], parts[1]] = len(merges)
            vocabulary.setdefault(parts[0] + parts[1], len(vocabulary))
            parts = merged(parts, merges)
    for special in ("<|startoftext|>", "<|endoftext|>"):
        vocabulary[special] = len(vocabulary)
    return _transformers.CLIPTokenizer(vocab=vocabulary, merges=[*merges], model_max_length=CLIP_TOKENS)


def byte_pairs(words: Iterable[str]) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Return vocabulary and merges of byte pairs, so that every byte and every word after a space is a token."""
    vocabulary = {symbol: i for i, symbol in enumerate(byte_symbols())}
    merges: dict[tuple[str, str], int] = {}
    for word in words:
        # "\u0120" is the space before a word.
        parts = merged([*f"\u0120{word}"], merges)
        while len(parts) > 1:
            merges[parts[0], parts[1]] = len(merges)
            vocabulary.setdefault(parts[0] + parts[1], len(vocabulary))
            parts = merged(parts, merges)
    return vocabulary, [*merges]


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


def fill(
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
