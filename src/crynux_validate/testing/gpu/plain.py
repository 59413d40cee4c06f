"""Operations of torch without matrix products: they compute the same with and without tensor cores.

`tensor_cores` lets these through and refuses all others, so that no product is computed in another arithmetic unseen.
Besides those listed here, operations on each number alone and views have no products; torch marks them.
"""

from typing import Any, Final

_LISTED: Final = frozenset(
    f"aten::{name}"
    for name in (
        # Memory: what is made, copied, put together, taken out.
        "_local_scalar_dense", "_pin_memory", "_to_copy", "_unsafe_view", "arange", "cat", "clone", "constant_pad_nd",
        "contiguous", "copy", "copy_", "detach_", "diag_embed", "embedding", "empty", "empty_like", "empty_strided",
        "fill", "fill_", "flip", "full_like", "gather", "index", "index_add", "index_add_", "index_copy",
        "index_copy_", "index_fill", "index_fill_", "index_put", "index_put_", "index_select", "is_pinned",
        "is_same_size", "lift", "lift_fresh_copy", "masked_fill", "masked_fill_", "masked_scatter", "masked_scatter_",
        "masked_select", "narrow_copy", "new_empty", "new_empty_strided", "new_full", "new_ones", "new_zeros",
        "nonzero", "ones_like", "pixel_shuffle", "pixel_unshuffle", "reflection_pad1d", "reflection_pad2d",
        "reflection_pad3d", "repeat", "repeat_interleave", "replication_pad1d", "replication_pad2d",
        "replication_pad3d", "resize_", "roll", "scatter", "scatter_", "scatter_add", "scatter_add_", "set_",
        "slice_scatter", "select_scatter", "split_with_sizes_copy", "stack", "take", "tril", "tril_", "triu", "triu_",
        "unfold", "unsafe_split", "unsafe_split_with_sizes", "where", "zero_", "zeros_like",
        # Sums and other reductions, sorting.
        "all", "amax", "amin", "aminmax", "any", "argmax", "argmin", "argsort", "cummax", "cummin", "cumprod",
        "cumsum", "equal", "kthvalue", "linalg_vector_norm", "logcumsumexp", "logsumexp", "max", "mean", "median",
        "min", "mode", "nansum", "norm", "prod", "sort", "std", "std_mean", "sum", "topk", "unique_consecutive",
        "_unique2", "var", "var_mean",
        # Norms, softmax, pooling, scaling.
        "_adaptive_avg_pool2d", "_adaptive_avg_pool3d", "_log_softmax", "_safe_softmax", "_softmax",
        "adaptive_max_pool2d", "avg_pool2d", "avg_pool3d", "max_pool2d_with_indices", "max_pool3d_with_indices",
        "native_batch_norm", "_native_batch_norm_legit", "_native_batch_norm_legit_no_training", "native_group_norm",
        "native_layer_norm", "_fused_rms_norm", "upsample_bicubic2d", "upsample_bilinear2d", "upsample_linear1d",
        "upsample_nearest1d", "upsample_nearest2d", "upsample_nearest3d", "upsample_trilinear3d",
        "_upsample_bicubic2d_aa", "_upsample_bilinear2d_aa", "_upsample_nearest_exact1d", "_upsample_nearest_exact2d",
        "_upsample_nearest_exact3d", "glu",
        # Random numbers, and questions.
        "bernoulli", "bernoulli_", "exponential_", "multinomial", "native_dropout", "normal_", "rand_like",
        "randint_like", "randn_like", "random_", "uniform_", "_fused_sdp_choice", "isin", "bucketize", "searchsorted",
        # Gradients of the above that autograd asks for.
        "_log_softmax_backward_data", "_softmax_backward_data", "embedding_dense_backward", "expand_copy",
        "native_dropout_backward", "native_group_norm_backward", "native_layer_norm_backward", "select_backward",
        "slice_backward", "upsample_bilinear2d_backward", "upsample_nearest2d_backward", "_embedding_bag",
    )
)  # fmt: skip


def has_no_product(operation: Any) -> bool:
    """Whether an operation (a ``torch._ops.OpOverload``) computes no matrix product."""
    import torch

    name = operation._schema.name
    known = name.startswith("aten::") and (operation.is_view or torch.Tag.pointwise in operation.tags)
    return known or name in _LISTED
