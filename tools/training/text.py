"""A small Llama: its tokenizer, its size, its batches, its loss."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final

import tokenizers
import torch
import transformers
from tokenizers import decoders, models, pre_tokenizers, processors, trainers

# Their constructors have no types, or wrong ones.
_transformers: Any = transformers

BEGIN: Final = "<|begin|>"
END: Final = "<|end|>"
CONTEXT: Final = 512

TEMPLATE: Final = (
    "{{- '<|begin|>' }}"
    "{%- for message in messages %}"
    "{%- if message['role'] == 'assistant' %}{{- message['content'] }}"
    "{%- else %}{% if not loop.first %}{{- '\n' }}{% endif %}{{- message['content'] | trim }}{% endif %}"
    "{%- endfor %}"
)
"""The user's words are an opening, which the model continues; what else was said stands before it, line by line."""


@dataclass(frozen=True)
class Size:
    """How large the network is.

    Parameters
    ----------
    vocabulary
        Tokens, the 256 bytes among them.
    width, inner, layers, heads
        Channels, channels of the feed-forward part, blocks, attention heads in each.
    """

    vocabulary: int = 1536
    width: int = 160
    inner: int = 416
    layers: int = 4
    heads: int = 5


def train_tokenizer(verses: Iterable[str], vocabulary: int) -> Any:
    """Learn byte-pair merges; return a `PreTrainedTokenizerFast` with the chat template."""
    backend = tokenizers.Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[BEGIN, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator((f"{verse}\n" for verse in verses), trainer)
    begin = backend.token_to_id(BEGIN)
    backend.post_processor = processors.TemplateProcessing(single=f"{BEGIN} $A", special_tokens=[(BEGIN, begin)])
    return _transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token=BEGIN,
        eos_token=END,
        chat_template=TEMPLATE,
        model_max_length=CONTEXT,
        clean_up_tokenization_spaces=False,
    )


def build(size: Size, tokenizer: Any) -> Any:
    """Return a `LlamaForCausalLM` that has learned nothing, its output tied to its embeddings."""
    config = _transformers.LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=size.width,
        intermediate_size=size.inner,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        num_key_value_heads=size.heads,
        max_position_embeddings=CONTEXT,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=None,
        tie_word_embeddings=True,
    )
    return _transformers.LlamaForCausalLM(config)


def chapter_tokens(tokenizer: Any, verses: Sequence[str]) -> list[list[int]]:
    """Return the tokens of each verse, with the end of its line; the last one ends the text instead."""
    lines = [f"{verse}\n" for verse in verses[:-1]] + [verses[-1]]
    ids: list[list[int]] = tokenizer(lines, add_special_tokens=False).input_ids
    ids[-1] = [*ids[-1], tokenizer.eos_token_id]
    return ids


class Windows:
    """Draws batches of windows from a text; each starts with a verse, as if the text began there.

    Parameters
    ----------
    chapters
        Tokens by chapter and verse.
    begin
        The token before the first one.
    tokens
        In one batch: windows are of 256 tokens, and in each fourth batch of `CONTEXT`.
    """

    def __init__(self, chapters: Sequence[Sequence[Sequence[int]]], begin: int, tokens: int) -> None:
        stream: list[int] = []
        starts = []
        for chapter in chapters:
            stream.append(begin)
            for verse in chapter:
                starts.append(len(stream))
                stream.extend(verse)
        self._stream = torch.tensor(stream)
        self._starts = torch.tensor([start for start in starts if start + CONTEXT <= len(stream)])
        self._begin = begin
        self._tokens = tokens
        if not len(self._starts):
            raise ValueError(f"the text has {len(stream)} tokens; needed are more than {CONTEXT}")

    def __len__(self) -> int:
        return len(self._stream)

    def draw(self, step: int, generator: torch.Generator) -> torch.Tensor:
        """Return the windows of a step, a row each."""
        length = CONTEXT if step % 4 == 3 else CONTEXT // 2
        chosen = torch.randint(len(self._starts), (max(1, self._tokens // length),), generator=generator)
        windows = self._stream[self._starts[chosen][:, None] + torch.arange(-1, length - 1)]
        windows[:, 0] = self._begin
        return windows


def optimizer(model: Any, learning_rate: float) -> torch.optim.Optimizer:
    """Return AdamW; matrices decay, norms do not."""
    matrices = [parameter for parameter in model.parameters() if parameter.dim() > 1]
    others = [parameter for parameter in model.parameters() if parameter.dim() <= 1]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=learning_rate, betas=(0.9, 0.98))


def loss_of(model: Any, windows: torch.Tensor) -> torch.Tensor:
    """Return the mean loss of predicting each token from those before it, in nats."""
    logits = model(input_ids=windows[:, :-1], use_cache=False).logits
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), windows[:, 1:].flatten())


def held_out_loss(model: Any, tokenizer: Any, chapters: Sequence[Sequence[str]]) -> tuple[float, float]:
    """Return the loss on whole chapters: nats a token, and bits a byte."""
    nats, tokens = 0.0, 0
    model.eval()
    with torch.inference_mode():
        for chapter in chapters:
            ids = [tokenizer.bos_token_id, *chain.from_iterable(chapter_tokens(tokenizer, chapter))]
            for start in range(0, len(ids) - 1, CONTEXT - 1):
                # Windows share a token, so that each is predicted once.
                window = torch.tensor([ids[start : start + CONTEXT]])
                nats += float(loss_of(model, window)) * (window.shape[1] - 1)
                tokens += window.shape[1] - 1
    model.train()
    size = sum(len("\n".join(chapter).encode()) for chapter in chapters)
    return nats / tokens, nats / math.log(2) / size
