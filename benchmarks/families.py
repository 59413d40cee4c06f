"""Which families of language models can be decoded token by token, and how near: ``python -m benchmarks.families``.

Builds every causal family of the installed transformers that can be made small, with random weights, and compares five
decoded steps with one pass, as loading a model does. Prints a line for each: family, attention, the gap in each dtype,
and the verdict. Families in arguments are measured alone. Takes about two minutes and 2 GiB.
"""

import sys
from collections.abc import Mapping
from typing import Any, Final

import torch
import transformers
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from crynux_validate.errors import CrynuxValidateError
from crynux_validate.pipelines.guard.determinism import deterministic
from crynux_validate.pipelines.models.loading import quiet
from crynux_validate.pipelines.text import passes

VOCABULARY: Final = 512
LARGEST: Final = 30_000_000
"""More weights are not small: their configuration has sizes that are not known here."""

_WIDTH: Final = ("hidden_size", "n_embd", "d_model", "embedding_size", "word_embed_proj_dim")
_INNER: Final = (
    "intermediate_size", "ffn_dim", "n_inner", "d_ff", "d_inner", "dff", "dim_ff", "decoder_ffn_dim", "encoder_ffn_dim",
    "ffn_hidden_size",
)  # fmt: skip
_LAYERS: Final = ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "decoder_layers", "num_decoder_layers")
_HEADS: Final = ("num_attention_heads", "n_head", "n_heads", "decoder_attention_heads", "encoder_attention_heads")
_PLACES: Final = ("max_position_embeddings", "n_positions", "max_sequence_length", "max_seq_len", "seq_length")
_EXPERTS: Final = ("num_experts", "num_local_experts", "n_routed_experts")
SMALL: Final[Mapping[str, Any]] = {
    "vocab_size": VOCABULARY, **dict.fromkeys(_WIDTH, 64), **dict.fromkeys(_INNER, 96), **dict.fromkeys(_LAYERS, 4),
    **dict.fromkeys(_HEADS, 4), **dict.fromkeys(_PLACES, 256), **dict.fromkeys(_EXPERTS, 4), "encoder_layers": 1,
    "num_key_value_heads": 2, "head_dim": 16, "dim_head": 16, "kv_channels": 16, "rotary_dim": 8, "sliding_window": 64,
    "moe_intermediate_size": 32, "shared_expert_intermediate_size": 32, "num_experts_per_tok": 2, "n_group": 1,
    "topk_group": 1, "moe_topk": 2, "moe_k": 2, "first_k_dense_replace": 1, "q_lora_rank": 32, "kv_lora_rank": 32,
    "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 16, "mamba_n_heads": 8, "mamba_d_head": 16,
    "mamba_d_state": 16, "mamba_num_heads": 8, "mamba_head_dim": 16, "ssm_state_size": 16, "state_size": 16,
    "n_groups": 1, "mamba_n_groups": 1, "mamba_ngroups": 1, "time_step_rank": 8, "mamba_dt_rank": 8,
    "linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 16, "linear_value_head_dim": 16,
    "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "is_decoder": True,
}  # fmt: skip
_LATENT: Final = {"num_key_value_heads": 4, "head_dim": None}
_TURNS: Final = ["linear_attention", "full_attention"] * 2
EXTRA: Final[Mapping[str, Mapping[str, Any]]] = {
    **dict.fromkeys(("axk1", "axk2", "deepseek_v3", "deepseek_v32", "glm4_moe_lite", "glm_moe_dsa"), _LATENT),
    **dict.fromkeys(("minicpm3", "youtu"), _LATENT), "bamba": {"attn_layer_indices": [1, 3]},
    "falcon_h1": {"mamba_d_ssm": 128}, "gemma3n_text": {
        "num_kv_shared_layers": 0, "vocab_size_per_layer_input": 512, "hidden_size_per_layer_input": 16,
        "laurel_rank": 8,
    }, "gemma4_text": {"vocab_size_per_layer_input": 512, "hidden_size_per_layer_input": 16},
    "gpt_neo": {"attention_types": [[["global", "local"], 2]]}, "granitemoehybrid": {
        "layer_types": ["mamba", "attention"] * 2
    }, "jamba": {
        "attn_layer_offset": 1, "attn_layer_period": 2, "expert_layer_offset": 1, "expert_layer_period": 2
    }, "kimi_linear": {"layer_types": _TURNS}, "lfm2_moe": {
        "layer_types": ["conv", "full_attention"] * 2, "num_dense_layers": 1
    }, "mamba2": {"num_heads": 8, "head_dim": 16, "expand": 2}, "reformer": {"axial_pos_embds": False},
    "xmod": {"default_language": "en_XX"}, "zaya": {"num_experts_per_tok": 1},
}  # fmt: skip


class NotMeasuredError(Exception):
    """A family that is not decoded alone, or that could not be made small."""


def configuration(config: Any, extra: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a small configuration of the same class, with those of its parts."""
    known = config.to_dict()
    fields = {name: value for name, value in SMALL.items() if known.get(name) is not None}
    if "num_key_value_heads" in known:
        fields["num_key_value_heads"] = 2
    for part in getattr(type(config), "sub_configs", {}):
        inner: Any = getattr(config, part, None)
        if hasattr(inner, "to_dict"):
            kind = {"model_type": inner.model_type} if inner.model_type else {}
            fields[part] = {**configuration(inner, {}), **kind}
    return {name: value for name, value in {**fields, **extra}.items() if value is not None}


def build(kind: str) -> Any:
    """Make a small model of a family, in float32."""
    causal: Any = transformers.AutoModelForCausalLM
    mapping: Any = transformers.CONFIG_MAPPING
    try:
        cls = mapping[kind]
        config = cls(**configuration(cls(), EXTRA.get(kind, {})))
        if config.is_encoder_decoder:
            raise NotMeasuredError("an encoder-decoder")
        with torch.device("meta"):
            size = sum(weights.numel() for weights in causal.from_config(config).parameters())
        if size > LARGEST:
            raise NotMeasuredError(f"{size:,} weights")
        torch.manual_seed(0)
        model = causal.from_config(config, dtype=torch.float32, experts_implementation="eager").eval()
    except NotMeasuredError:
        raise
    except Exception as error:
        raise NotMeasuredError(
            f"cannot be made small: {type(error).__name__}: {str(error).splitlines()[0][:80]}"
        ) from error
    with torch.no_grad():
        for weights in model.parameters():
            if weights.dim() > 1:
                weights.mul_(3)
    return model


def measure(kind: str, model: Any) -> str:
    """Return the line of a family."""
    gaps, verdict = [], "sound"
    original = passes._gap

    def noted(found: torch.Tensor, expected: torch.Tensor) -> float:
        gaps.append(original(found, expected))
        return gaps[-1]

    shown = []
    passes._gap = noted
    try:
        for dtype in (torch.float32, torch.float16, torch.bfloat16):
            gaps.clear()
            calls = passes.calls_of(kind, model.to(dtype), VOCABULARY, None, {0, 1, 2})
            shown.append(f"{gaps[-1]:.1e}")
            verdict = (
                f"sound: {calls.state}{', positions' if calls.positions else ''}{', beams' if calls.beams else ''}"
            )
    except CrynuxValidateError as error:
        verdict = f"refused in {dtype}: {error}"
    finally:
        passes._gap = original
    return f"| {kind} | {model.config._attn_implementation} | {' | '.join(shown)} | {verdict} |"


def main(kinds: list[str]) -> int:
    """Print a line for each family."""
    print("| family | attention | float32 | float16 | bfloat16 | verdict |\n|---|---|---|---|---|---|")
    with deterministic(), quiet("transformers"):
        for kind in kinds or list(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES):
            try:
                model = build(kind)
            except NotMeasuredError as reason:
                print(f"| {kind} | | | | | not measured: {reason} |", flush=True)
                continue
            print(measure(kind, model), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
