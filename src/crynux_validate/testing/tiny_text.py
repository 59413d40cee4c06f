"""A small Llama of random weights, with a byte-level tokenizer and a chat template.

Random weights have nothing to say. Tokens that are no whole words are made unlikely, so that what it says can be read.
"""

from typing import Any, Final

import tokenizers
import torch
import transformers
from tokenizers import decoders, models, pre_tokenizers

from crynux_validate.testing.tiny_base import WORDS, byte_pairs, fill

# Their constructors have no types, or wrong ones.
_transformers: Any = transformers

_SPECIAL: Final = ("<|begin|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>", "<|tool|>", "<|tools|>")

_TEMPLATE: Final = (
    "<|begin|>"
    "{%- if tools %}<|tools|>{{ tools | tojson }}<|end|>{% endif %}"
    "{%- for message in messages %}"
    "{{- '<|' + message['role'] + '|>' }}"
    "{%- if message['content'] %}{{ message['content'] }}{% endif %}"
    "{%- if message['tool_calls'] %}{{ message['tool_calls'] | tojson }}{% endif %}<|end|>"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}<|assistant|>{% endif %}"
)

_MORE_WORDS: Final = (
    "is are was were has have had will would can could may might must do does did say says said go goes went come "
    "came see saw make made take took give gave find found think know want look use work call try ask feel leave keep "
    "let begin seem help show hear play run move live believe hold bring happen write sit stand lose pay meet include "
    "it he she they we you I this that these those what which who when where why how all some any no not only also "
    "very much more most less few many other same different first last next long short high low near far early late "
    "time year day way thing world life hand part place case week company system program question work number point "
    "home water room mother area money story fact month lot right study book eye job word business issue side kind "
    "head to from for up down out about into over after before between through during against without within along and "
    "or but if because as until while so than then there here now just still again always never often sometimes"
)

_CONSTANT: Final = 4.0
"""What channel 0 holds at every token and in every layer, so that the output layer can have a bias."""

_NO_WORDS: Final = -6.0
"""The output weight of channel 0 for everything that is no whole word."""


def llama(seed: int) -> tuple[Any, Any]:
    """Build a `LlamaForCausalLM` in bfloat16 and its tokenizer; see `tiny_models.tiny_text_model`."""
    tokenizer, whole = words()
    config = _transformers.LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=256,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=8,
        num_key_value_heads=4,
        max_position_embeddings=2048,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=None,
        tie_word_embeddings=False,
    )
    with torch.random.fork_rng(devices=[]):
        model = fill(_transformers.LlamaForCausalLM(config), seed, 0, {"lm_head": 2.0})
    with torch.no_grad():
        model.model.embed_tokens.weight[:, 0] = _CONSTANT
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight[0] = 0
            layer.mlp.down_proj.weight[0] = 0
        model.lm_head.weight[:, 0] = _NO_WORDS
        model.lm_head.weight[whole, 0] = 0
    return model.to(torch.bfloat16), tokenizer


def words() -> tuple[Any, list[int]]:
    """Build a byte-level tokenizer that knows some words; return it with the ids of the words."""
    said = [*dict.fromkeys(f"{WORDS} {_MORE_WORDS}".split())]
    vocabulary, merges = byte_pairs(said)
    # "\u0120" is the space before a word.
    whole = [vocabulary[f"\u0120{word}"] for word in said]
    backend = tokenizers.Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    tokenizer = _transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token=_SPECIAL[0],
        eos_token=_SPECIAL[1],
        additional_special_tokens=list(_SPECIAL[2:]),
        chat_template=_TEMPLATE,
        model_max_length=2048,
    )
    return tokenizer, whole
