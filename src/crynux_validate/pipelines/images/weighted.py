"""Encodings of prompts with weights, and of any length: those of compel 2.5, to the bit (protocol T9).

A prompt is cut into windows that the text encoder holds, and their encodings stand one after the other. A weight of
1 or more moves the encoding of its tokens away from that of an empty prompt; for one below 1 the whole is mixed with
an encoding that does not attend to its tokens.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch

from crynux_validate.errors import PromptTooLongError
from crynux_validate.tasks import ImageTask
from crynux_validate.tasks.prompts import Weighted, weighted

MAX_WINDOWS: Final = 16

_ENDS: Final = (frozenset({".</w>"}), frozenset({".</w>", ",</w>", ";</w>", ":</w>"}))
"""After which tokens a prompt is cut, best first; next come ends of words."""
_LEAST: Final = 1e-5
"""A weight of 0 would need an infinite part of the other encoding."""


@torch.no_grad()
def encodings(pipeline: Any, task: ImageTask) -> dict[str, Any]:
    """Return what a Stable Diffusion pipeline, also an XL one, takes in place of a task's two prompts.

    Raises
    ------
    PromptTooLongError
        For a prompt of more than 16 windows.
    """
    pooling = getattr(pipeline, "text_encoder_2", None) is not None
    encoders = [
        _Encoder(pipeline, getattr(pipeline, f"tokenizer{which}"), network, pooling)
        for which in ("", "_2")
        if (network := getattr(pipeline, f"text_encoder{which}", None)) is not None
    ]
    texts = {"prompt": task.prompt, "negative_prompt": task.negative_prompt or ""}
    if task.negative_prompt is None and pooling and pipeline.config.force_zeros_for_empty_prompt:
        del texts["negative_prompt"]  # the pipeline takes zeros
    read = {name: weighted(name, text, task.prompt_syntax) for name, text in texts.items()}
    found = [[encoder.encoded(name, pieces) for name, pieces in read.items()] for encoder in encoders]
    longest = max(encoded.shape[1] for side in found for encoded in side)
    padded = [[encoder.padded(each, longest) for each in side] for encoder, side in zip(encoders, found, strict=True)]
    joined = (torch.cat(side, dim=-1) for side in zip(*padded, strict=True))
    arguments = dict(zip((f"{name}_embeds" for name in texts), joined, strict=True))
    if pooling:
        pools = {"prompt": "pooled_prompt_embeds", "negative_prompt": "negative_pooled_prompt_embeds"}
        arguments |= {pools[name]: encoders[-1].pooled(text) for name, text in texts.items()}
    return {"prompt": None, "negative_prompt": None, **arguments}


@dataclass
class _Piece:
    """Where a piece's tokens stand, and its weight."""

    first: int
    last: int
    weight: float


class _Encoder:
    def __init__(self, pipeline: Any, tokenizer: Any, network: Any, penultimate: bool) -> None:
        self._pipeline = pipeline
        self._tokenizer = tokenizer
        self._network = network
        self._penultimate = penultimate
        self._window: int = tokenizer.model_max_length
        self._none: torch.Tensor | None = None

    def encoded(self, name: str, pieces: Weighted) -> torch.Tensor:
        """Encode a prompt: (1, tokens of whole windows, width), in the encoder's dtype."""
        ids, weights, placed = self._placed(name, pieces)
        mask = torch.ones(len(ids), dtype=torch.long, device=self._network.device)
        found, parts = [self._weighted(ids, weights, mask)], [1.0]
        for piece in placed:
            if piece.weight >= 1:
                continue
            without = mask.clone()
            without[piece.first : piece.last + 1] = 0
            without[0 :: self._window] = without[self._window - 1 :: self._window] = 1
            found.append(self._weighted(ids, weights, without))
            parts.append(math.tan((1.0 - max(_LEAST, piece.weight)) * math.pi / 2))
        stacked = torch.cat([each.unsqueeze(0) for each in found], dim=1)
        shares = torch.tensor([parts], dtype=stacked.dtype, device=stacked.device)
        shares = (shares / shares.sum()).reshape(1, -1, 1, 1)
        return (stacked * shares).sum(dim=1).to(self._network.dtype)

    def padded(self, encoded: torch.Tensor, length: int) -> torch.Tensor:
        """Add encodings of nothing, up to a length."""
        missing = (length - encoded.shape[1]) // self._window
        return torch.cat([encoded, *[self._nothing()] * missing], dim=1)

    def pooled(self, text: str) -> torch.Tensor:
        """Encode the prompt as it is written, and no more of it than one window."""
        written = self._pipeline.maybe_convert_prompt(text, self._tokenizer)
        ids = self._tokenizer(
            written, truncation=True, max_length=self._window, padding="max_length", return_tensors="pt"
        ).input_ids
        return self._network(ids.to(self._network.device), return_dict=True).text_embeds  # type: ignore[no-any-return]

    def _placed(self, name: str, pieces: Weighted) -> tuple[list[int], list[float], list[_Piece]]:
        """Cut a prompt into windows: token ids, their weights, and the places of its pieces."""
        start, end, pad = self._tokenizer.bos_token_id, self._tokenizer.eos_token_id, self._tokenizer.pad_token_id
        per_piece = [self._tokens(text) for text, _ in pieces]
        tokens = [token for part in per_piece for token in part]
        weight_of = [weight for part, (_, weight) in zip(per_piece, pieces, strict=True) for _ in part]
        ids: list[int] = []
        weights: list[float] = []
        places: list[int] = []
        for window, (low, high) in enumerate(self._windows(tokens)):
            if window == MAX_WINDOWS:
                raise PromptTooLongError(
                    f"{name}: has {len(tokens)} tokens, which is more than {MAX_WINDOWS} windows: shorten it"
                )
            rest = self._window - (high - low) - 2
            ids += [start, *tokens[low:high], end, *[pad] * rest]
            weights += [1.0, *weight_of[low:high], 1.0, *[1.0] * rest]
            places += range(window * self._window + 1, window * self._window + 1 + high - low)
        placed, at = [], 0
        for part, (_, weight) in zip(per_piece, pieces, strict=True):
            if part:
                placed.append(_Piece(places[at], places[at + len(part) - 1], weight))
            at += len(part)
        return ids, weights, placed

    def _tokens(self, text: str) -> list[int]:
        # A word of a textual inversion can stand for several tokens.
        written = self._pipeline.maybe_convert_prompt(text, self._tokenizer)
        found: list[int] = self._tokenizer(written, add_special_tokens=False, truncation=False, padding=False).input_ids
        return found

    def _windows(self, tokens: Sequence[int]) -> Iterator[tuple[int, int]]:
        """Cut after a sentence, or a phrase, or a word."""
        most, low = self._window - 2, 0
        names = self._tokenizer.convert_ids_to_tokens(tokens)
        while len(tokens) - low > most:
            high = low + _cut(names[low : low + most])
            yield low, high
            low = high
        yield low, len(tokens)

    def _weighted(self, ids: list[int], weights: list[float], mask: torch.Tensor) -> torch.Tensor:
        found = []
        for low in range(0, len(ids), self._window):
            window = slice(low, low + self._window)
            encoded = self._states(ids[window], mask[window])
            factors = torch.tensor(weights[window], dtype=torch.float32, device=mask.device)[None, :, None]
            factors = factors.expand(encoded.shape)
            if not (factors == 1).all():
                moved = self._nothing() + (encoded - self._nothing()) * factors
                encoded = torch.where(factors == 1, encoded, moved)
            found.append(encoded)
        return torch.cat(found, dim=1)

    def _nothing(self) -> torch.Tensor:
        """The encoding of an empty prompt."""
        if self._none is None:
            start, end, pad = self._tokenizer.bos_token_id, self._tokenizer.eos_token_id, self._tokenizer.pad_token_id
            self._none = self._states([start, end, *[pad] * (self._window - 2)], None)
        return self._none

    def _states(self, ids: list[int], mask: torch.Tensor | None) -> torch.Tensor:
        given = torch.tensor([ids], dtype=torch.long, device=self._network.device)
        shown = None if mask is None else mask[None]
        output = self._network(given, shown, output_hidden_states=self._penultimate, return_dict=True)
        states: torch.Tensor = output.hidden_states[-2] if self._penultimate else output.last_hidden_state
        return states


def _cut(names: Sequence[str]) -> int:
    """How many of a window's tokens come before the cut."""
    for ends in _ENDS:
        for at in range(len(names), 0, -1):
            if names[at - 1] in ends:
                return at
    return next((at for at in range(len(names), 0, -1) if names[at - 1].endswith("</w>")), len(names))
