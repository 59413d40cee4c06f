"""torch's matrix products, convolutions and attention in the arithmetic of a card's tensor cores.

One float32 accumulator, which begins with 0, runs over all of k. What follows is float32 of the processor: the
accumulator times alpha, plus beta times the bias or the matrix that is added. Then the result is rounded once to the
dtype. k of a convolution goes over the rows of the kernel, then its columns, then the channels. Attention has its
scores and its softmax in float32, rounds the weights to the dtype, and multiplies them with the values.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias

import numpy as np
import torch
from torch.nn import functional

from crynux_validate.errors import FakeHardwareError
from crynux_validate.testing.gpu.arithmetic import Architecture, Float32s, multiply

_DTYPES: Final = {torch.float16: "float16", torch.bfloat16: "bfloat16", torch.float32: "tf32"}

_MOST: Final = 2**24
"""The most numbers of float32 in one temporary: 64 MiB."""

Finish: TypeAlias = Callable[[torch.Tensor, tuple[slice, slice, slice]], torch.Tensor]
"""Takes a part of a product, and where it lies."""


class Products:
    """The products of one context.

    Parameters
    ----------
    architecture
        Whose arithmetic it is.
    splits
        How many blocks k is split over; see `arithmetic.multiply`.

    Attributes
    ----------
    multiply_adds
        How many there were.
    """

    def __init__(self, architecture: Architecture, splits: int) -> None:
        self.architecture = architecture
        self.splits = splits
        self.multiply_adds = 0

    def table(self) -> "Mapping[Any, Callable[..., Any]]":
        """Return what computes each operation of torch."""
        aten = torch.ops.aten
        return {
            aten.mm.default: self.mm,
            aten.bmm.default: self.mm,
            aten.addmm.default: self.addmm,
            aten.baddbmm.default: self.addmm,
            aten.mv.default: self.mv,
            aten.addmv.default: self.addmv,
            aten.dot.default: self.dot,
            aten.vdot.default: self.dot,
            aten.convolution.default: self.convolution,
            aten.scaled_dot_product_attention.default: self.attention,
            aten._scaled_dot_product_flash_attention_for_cpu.default: self.flash_attention,
        }

    def product(self, a: torch.Tensor, b: torch.Tensor, finish: "Finish | None" = None) -> torch.Tensor:
        """Return the product of (batch, m, k) and (batch, k, n), which have one dtype.

        Parameters
        ----------
        finish
            What becomes of a part of the float32 product, given with its place, before it is rounded to the dtype. The
            product stays float32 without it.
        """
        if a.dtype != b.dtype or a.dtype not in _DTYPES:
            raise FakeHardwareError(
                f"a product of {a.dtype} and {b.dtype} is not computed as {self.architecture.name} does: both must "
                "be float16, or both bfloat16 (or float32, for TF32)"
            )
        batch, m, k = a.shape
        n = b.shape[2]
        result = torch.empty(batch, m, n, dtype=torch.float32 if finish is None else a.dtype)
        given: Any = {"architecture": self.architecture.name, "dtype": _DTYPES[a.dtype], "splits": self.splits}
        columns = max(1, min(n, _MOST // max(k, 1)))
        rows = max(1, min(m, _MOST // max(k, columns)))
        matrices = max(1, min(batch, _MOST // max(k * rows, k * columns, rows * columns, 1)))
        for one in range(0, batch, matrices):
            some = slice(one, one + matrices)
            for left in range(0, n, columns):
                beside = _numbers(b[some, :, left : left + columns])
                for top in range(0, m, rows):
                    place = (some, slice(top, top + rows), slice(left, left + columns))
                    found = torch.from_numpy(multiply(_numbers(a[place[:2]]), beside, **given))
                    result[place] = found if finish is None else finish(found, place)
        self.multiply_adds += batch * m * n * k
        return result

    # ------------------------------------------------------------------------------------------------ operations

    def mm(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """``mm`` and ``bmm``."""
        return self._stacked(a, b, lambda found, _: found)

    def addmm(
        self, bias: torch.Tensor, a: torch.Tensor, b: torch.Tensor, *, beta: float = 1, alpha: float = 1
    ) -> torch.Tensor:
        """``addmm`` and ``baddbmm``: ``beta`` times the bias plus ``alpha`` times the product."""
        shape = (*a.shape[:-1], b.shape[-1])
        added = bias.expand(shape) if a.ndim == 3 else bias.expand(shape)[None]
        return self._stacked(a, b, lambda found, place: _with_bias(found, added[place], alpha, beta))

    def mv(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """A matrix times a vector."""
        return self.mm(a, b[:, None])[:, 0]

    def addmv(
        self, bias: torch.Tensor, a: torch.Tensor, b: torch.Tensor, *, beta: float = 1, alpha: float = 1
    ) -> torch.Tensor:
        """``beta`` times the bias plus ``alpha`` times a matrix times a vector."""
        return self.addmm(bias.expand(a.shape[0])[:, None], a, b[:, None], beta=beta, alpha=alpha)[:, 0]

    def dot(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """The product of two vectors."""
        return self.mm(a[None], b[:, None])[0, 0]

    def convolution(
        self,
        x: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        stride: Sequence[int],
        padding: Sequence[int],
        dilation: Sequence[int],
        transposed: bool,
        output_padding: Sequence[int],
        groups: int,
    ) -> torch.Tensor:
        """A convolution over one to three dimensions, as one product for each group.

        One that is transposed is the plain one of its input with zeros between the places, by the kernel turned around;
        products with these zeros are computed and counted.
        """
        # Anything that does not fit is torch's to name: it is asked for the shape of the result.
        metas = [None if part is None else part.to("meta") for part in (x, weight, bias)]
        shape = torch.ops.aten.convolution.default(
            *metas, stride, padding, dilation, transposed, output_padding, groups
        ).shape
        sizes = weight.shape[2:]
        count = len(sizes)
        stride, padding, dilation = (
            list(part) * (count if len(part) == 1 else 1) for part in (stride, padding, dilation)
        )
        if transposed:
            x = _spread(x, stride)
            inputs, outputs = weight.shape[0] // groups, weight.shape[1]
            weight = weight.reshape(groups, inputs, outputs, *sizes).transpose(1, 2)
            weight = weight.reshape(-1, inputs, *sizes).flip(*range(2, 2 + count))
            padding = [d * (size - 1) - p for d, size, p in zip(dilation, sizes, padding, strict=True)]
            stride = [1] * count
        # (groups, k, outputs of a group); k goes over the kernel first, then over the channels.
        kernels = weight.reshape(groups, -1, weight.shape[1], math.prod(sizes)).permute(0, 3, 2, 1).flatten(1, 2)
        result = torch.empty(shape, dtype=x.dtype)
        most = _MOST // max(1, kernels.shape[1] * groups, shape[1])
        for image in range(shape[0]):
            for box in _boxes(shape[2:], most):
                part = x[image]
                for at, (some, s, p, d, size) in enumerate(zip(box, stride, padding, dilation, sizes, strict=True), 1):
                    part = _reached(part, at, some.start * s - p, (some.stop - 1) * s - p + d * (size - 1) + 1)
                out = [some.stop - some.start for some in box]
                windows = _windows(part.movedim(0, -1), out, sizes, stride, dilation, groups)
                # (groups, places, outputs of a group) becomes (outputs, places).
                found = self.product(windows, kernels).transpose(1, 2).reshape(shape[1], *out)
                if bias is not None:
                    found = _with_bias(found, bias.reshape(-1, *[1] * count), 1, 1)
                result[image][(slice(None), *box)] = found.to(x.dtype)
        return result

    def attention(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attn_mask: torch.Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        *,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> torch.Tensor:
        """``scaled_dot_product_attention``."""
        if enable_gqa:
            key, value = (part.repeat_interleave(query.shape[-3] // part.shape[-3], -3) for part in (key, value))
        return self.flash_attention(query, key, value, dropout_p, is_causal, attn_mask=attn_mask, scale=scale)[0]

    def flash_attention(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        *,
        attn_mask: torch.Tensor | None = None,
        scale: float | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return attention, and the logarithm of what the softmax divides by, for autograd."""
        if dropout_p:
            raise FakeHardwareError(f"attention with dropout ({dropout_p}) is random; put the model into eval mode")
        before = np.broadcast_shapes(query.shape[:-2], key.shape[:-2], value.shape[:-2])
        queries, keys, values = (part.expand(*before, *part.shape[-2:]).flatten(0, -3) if before else part[None]
                                 for part in (query, key, value))  # fmt: skip
        batch, rows, width = queries.shape
        columns = keys.shape[1]
        factor = width**-0.5 if scale is None else scale
        if attn_mask is not None and is_causal:
            raise RuntimeError("attention takes a mask or is_causal, not both")
        one_mask = attn_mask is None or math.prod(attn_mask.shape[:-2]) == 1
        result = torch.empty(batch, rows, values.shape[2], dtype=query.dtype)
        logarithms = torch.empty(batch, rows, dtype=torch.float32)
        matrices = max(1, min(batch, _MOST // max(1, rows * columns))) if one_mask else 1
        step = max(1, min(rows, _MOST // max(1, columns)))
        for one in range(0, batch, matrices):
            some = slice(one, one + matrices)
            for top in range(0, rows, step):
                these = (some, slice(top, top + step))
                scores = self.product(queries[these], keys[some].transpose(1, 2)) * factor
                if is_causal:
                    scores.masked_fill_(torch.arange(columns) > torch.arange(rows)[these[1], None], -math.inf)
                if attn_mask is not None:
                    lead = (0,) * (attn_mask.ndim - 2) if one_mask else np.unravel_index(one, before)
                    wide = attn_mask if one_mask else attn_mask.expand(*before, rows, columns)
                    _add_mask(scores, wide[tuple(map(int, lead))].expand(rows, columns)[these[1]])
                logarithms[these] = scores.logsumexp(-1)
                # A row that may attend to nothing has weights of 0, as in torch.
                weights = torch.ops.aten._safe_softmax.default(scores, -1).to(query.dtype)
                result[these] = self.product(weights, values[some]).to(query.dtype)
        return result.reshape(*before, rows, -1), logarithms.reshape(*before, rows)

    def _stacked(self, a: torch.Tensor, b: torch.Tensor, finish: "Finish") -> torch.Tensor:
        """The product of two matrices, or of two stacks of as many."""
        if a.ndim != b.ndim or a.ndim not in {2, 3} or a.shape[-1] != b.shape[-2] or a.shape[:-2] != b.shape[:-2]:
            raise RuntimeError(f"matrices of the shapes {tuple(a.shape)} and {tuple(b.shape)} cannot be multiplied")
        return self.product(a, b, finish) if a.ndim == 3 else self.product(a[None], b[None], finish)[0]


def _numbers(part: torch.Tensor) -> Float32s:
    """The numbers of a tensor as float32."""
    found: Float32s = part.detach().to(torch.float32).numpy()
    return found


def _with_bias(found: torch.Tensor, bias: torch.Tensor, alpha: float, beta: float) -> torch.Tensor:
    """``alpha`` times what was found plus ``beta`` times the bias, in float32; a beta of 0 ignores even NaN."""
    if alpha != 1:
        found = found * alpha
    if beta == 0:
        return found
    numbers = bias.to(torch.float32)
    return found + (numbers if beta == 1 else numbers * beta)


def _add_mask(scores: torch.Tensor, mask: torch.Tensor) -> None:
    """Add a mask of numbers, or take out what a mask of truth values does not name."""
    if mask.dtype is torch.bool:
        scores.masked_fill_(~mask, -math.inf)
    else:
        scores += mask.to(torch.float32)


def _spread(x: torch.Tensor, stride: Sequence[int]) -> torch.Tensor:
    """Put zeros between the places of pictures, so that they lie a stride apart."""
    wide = x.new_zeros(*x.shape[:2], *((size - 1) * step + 1 for size, step in zip(x.shape[2:], stride, strict=True)))
    wide[(slice(None), slice(None), *(slice(None, None, step) for step in stride))] = x
    return wide


def _boxes(shape: Sequence[int], most: int) -> Iterator[tuple[slice, ...]]:
    """Cut a box into boxes of that many places at most."""
    if not shape:
        yield ()
        return
    step = max(1, most // max(1, math.prod(shape[1:])))
    for start in range(0, shape[0], step):
        for others in _boxes(shape[1:], most):
            yield (slice(start, min(start + step, shape[0])), *others)


def _reached(part: torch.Tensor, axis: int, start: int, stop: int) -> torch.Tensor:
    """Some places of an axis, with zeros for those that lie outside."""
    size = part.shape[axis]
    first, last = (min(max(place, 0), size) for place in (start, stop))
    before = min(max(-start, 0), stop - start)
    sides = [0, 0] * (part.ndim - 1 - axis) + [before, stop - start - before - (last - first)]
    found = part.narrow(axis, first, last - first)
    return functional.pad(found, sides) if any(sides) else found


def _windows(
    part: torch.Tensor,
    out: Sequence[int],
    sizes: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
    groups: int,
) -> torch.Tensor:
    """Return what each place of the output is computed from: (groups, places, k), of a picture with channels last."""
    steps = part.stride()
    width = part.shape[-1] // groups
    shape = (*out, *sizes, groups, width)
    places, kernel = ([step * by for step, by in zip(steps, hops, strict=False)] for hops in (stride, dilation))
    found = part.as_strided(shape, (*places, *kernel, steps[-1] * width, steps[-1]), part.storage_offset())
    return found.movedim(-2, 0).reshape(groups, math.prod(out), -1)
