"""The canary: equal where everything is equal, different where other kernels compute (protocol P6)."""

import functools
import hashlib
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("torch")

import torch

from crynux_validate import canary, deterministic
from crynux_validate.errors import InvalidInputError, PipelineError
from crynux_validate.pipelines import canary as module
from crynux_validate.pipelines.canary import canary_of, probes
from crynux_validate.pipelines.noise import Purpose, normal
from crynux_validate.tasks import ImageTask, ModelRef
from crynux_validate.testing.fake_hardware import Workers
from tests.pipelines import jobs

T = TypeVar("T")

CHALLENGE = b"an epoch's challenge"


def prefixed(part: bytes) -> bytes:
    return len(part).to_bytes(4, "big") + part


def canary_digest(*parts: bytes) -> bytes:
    """The digest of the protocol, written down a second time."""
    return hashlib.sha256(prefixed(b"crynux-validate/canary/1") + b"".join(parts)).digest()


def test_the_bytes_are_as_specified() -> None:
    found = probes(CHALLENGE, "cpu")
    parts = [prefixed(name.encode()) + found[name] for name in sorted(found)]
    assert canary(CHALLENGE, "cpu") == canary_digest(prefixed(b"canary"), prefixed(CHALLENGE), *parts)
    assert canary_of(CHALLENGE, dict(reversed(found.items()))) == canary(CHALLENGE, "cpu")
    # One probe from its specification alone.
    seed = int.from_bytes(canary_digest(prefixed(b"seed"), prefixed(CHALLENGE))[:8], "big") >> 11
    values = normal(seed, shape=(131_071,), purpose=Purpose.CANARY)
    operands = torch.tensor(values[: 77 * 768 + 2 * 768])
    x, weight, bias = operands[: 77 * 768].reshape(1, 77, 768), operands[-1536:-768], operands[-768:]
    with deterministic():
        norm = torch.nn.functional.layer_norm(x, (768,), weight.clone(), bias.clone())
    data = np.asarray(norm.numpy(), dtype="<f4").tobytes()
    name = b"layer_norm.float32"
    assert found[name.decode()] == canary_digest(prefixed(b"probe"), prefixed(name), data)


def test_an_operand_continues_where_the_last_one_ended_in_a_circle() -> None:
    size = 131_071
    circle = torch.arange(size, dtype=torch.float32).repeat(3)
    take = module.Operands(circle, torch.float32, torch.device("cpu"))
    parts = [take(100), take(size - 150), take(10, 10), take(size), take(7)]
    expected = torch.arange(sum(part.numel() for part in parts), dtype=torch.float32) % size
    assert torch.equal(torch.cat([part.flatten() for part in parts]), expected)
    halves = module.Operands(circle / size, torch.bfloat16, torch.device("cpu"))(50, scale=2.0**-3)
    assert torch.equal(halves, (circle[:50] / size / 8).bfloat16())


def test_every_probe_follows_the_challenge() -> None:
    one, other = probes(b"\0", "cpu"), probes(b"\0\0", "cpu")
    assert one.keys() == other.keys()
    assert [name for name in one if one[name] == other[name]] == []
    assert len(set(one.values())) == len(one)


def test_every_dtype_that_tasks_use_is_probed() -> None:
    names = set(probes(CHALLENGE, "cpu"))
    for dtype in ("float32", "bfloat16"):
        assert {f"{probe.__name__}.{dtype}" for probe in module._EVERY_DTYPE} <= names
    assert {f"{probe.__name__}.float32" for probe in module._FLOAT32} <= names
    assert not [name for name in names if "float16" in name.replace("bfloat16", "")]


@settings(max_examples=5, deadline=None)
@given(st.binary(min_size=1, max_size=256), st.binary(min_size=1, max_size=256))
def test_two_challenges_have_two_digests(one: bytes, other: bytes) -> None:
    assert (canary(one, "cpu") == canary(other, "cpu")) == (one == other)


@pytest.mark.parametrize("challenge", [b"", bytes(257), "text", None, bytearray(8), 7])
def test_a_challenge_is_1_to_256_bytes(challenge: Any) -> None:
    with pytest.raises(InvalidInputError, match="1 to 256 bytes"):
        canary(challenge, "cpu")
    with pytest.raises(InvalidInputError, match="1 to 256 bytes"):
        canary_of(challenge, {})


@pytest.mark.parametrize("digests", [None, {}, [], "x", {"a": "x"}, {"a": bytes(31)}, {1: bytes(32)}])
def test_a_canary_is_of_digests_of_probes(digests: Any) -> None:
    with pytest.raises(InvalidInputError, match=r"digest|probe"):
        canary_of(CHALLENGE, digests)


def test_the_longest_challenge_is_taken() -> None:
    assert len(canary(bytes(256), "cpu")) == 32


def test_a_device_that_is_none() -> None:
    with pytest.raises(InvalidInputError, match="no device"):
        canary(CHALLENGE, "toaster")
    if not torch.cuda.is_available():
        with pytest.raises(PipelineError, match="cuda"):
            canary(CHALLENGE, "cuda")


def test_other_work_and_other_settings_do_not_matter() -> None:
    before = probes(CHALLENGE, "cpu")
    threads = torch.get_num_threads()
    state = torch.get_rng_state()
    try:
        torch.set_num_threads(2)
        torch.set_default_dtype(torch.float64)
        torch.rand(999, 999) @ torch.rand(999, 999)
        torch.nn.functional.conv2d(torch.rand(2, 3, 65, 65), torch.rand(5, 3, 3, 3))
        state = torch.get_rng_state()
        with torch.autocast("cpu"), torch.no_grad():
            assert probes(CHALLENGE, "cpu") == before
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
        torch.set_default_dtype(torch.float32)
    assert torch.equal(torch.get_rng_state(), state), "a probe drew random numbers"
    assert probes(CHALLENGE, "cpu") == before


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_number_that_is_not_finite_is_a_fault(value: float, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(take: module.Operands) -> torch.Tensor:
        return torch.where(torch.arange(64) == 33, value, take(64).float()).to(take.dtype)

    monkeypatch.setattr(module, "_EVERY_DTYPE", (broken,))
    with pytest.raises(PipelineError, match=r"broken\.float32 gives a number that is not finite on cpu"):
        canary(CHALLENGE, "cpu")


# On other machines: what follows runs in fake-hardware workers, which find these functions by name.


def on_each(workers: Workers, function: Callable[..., T], *args: Any, kinds: list[str] | None = None) -> dict[str, T]:
    """What a function returns on machines of all kinds, or of some; they run it at the same time."""
    futures = {kind: workers[kind].submit(function, *args) for kind in kinds or list(workers)}
    return {kind: future.result() for kind, future in futures.items()}


def differing(kind: str, found: dict[str, dict[str, bytes]]) -> set[str]:
    return {name for name, digest in found[kind].items() if digest != found["native"][name]}


@functools.cache
def _language_model(dtype: str, width: int, heads: int) -> Any:
    """A Llama of random weights with eager attention."""
    import transformers

    library: Any = transformers
    config = library.LlamaConfig(
        vocab_size=512,
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=2,
        num_attention_heads=heads,
        num_key_value_heads=heads // 2,
        attn_implementation="eager",
    )
    model = library.LlamaForCausalLM(config).eval()
    for draw, weight in enumerate(model.parameters()):
        values = torch.from_numpy(normal(3, draw=draw, shape=tuple(weight.shape)))
        weight.data.copy_(values * weight.shape[-1] ** -0.5 if weight.dim() > 1 else 1 + values / 8)
    return model.to(getattr(torch, dtype))


def logits(dtype: str, width: int, heads: int, tokens: int) -> tuple[list[int], str]:
    """Greedy tokens behind a prompt, and a digest of the logits that chose them."""
    import transformers

    with deterministic(), torch.no_grad():
        model = _language_model(dtype, width, heads)
        cache = transformers.DynamicCache(config=model.config)
        entered, chosen, seen = [at * 7 % 512 for at in range(11)], [], hashlib.sha256()
        for _ in range(tokens):
            row = model(input_ids=torch.tensor([entered]), past_key_values=cache, use_cache=True).logits[0, -1].float()
            seen.update(row.numpy().tobytes())
            entered = [int(row.argmax())]
            chosen += entered
    return chosen, seen.hexdigest()


def test_another_process_of_the_same_kind_has_the_same_canary(fake_hardware_workers: Workers) -> None:
    native = fake_hardware_workers["native"]
    first = native.run(probes, CHALLENGE, "cpu")
    native.run(logits, "float32", 64, 4, 2)
    assert native.run(probes, CHALLENGE, "cpu") == first
    assert native.run(canary, CHALLENGE, "cpu") == canary_of(CHALLENGE, first)


def test_kinds_whose_kernels_differ_are_told_apart(fake_hardware_workers: Workers) -> None:
    found = on_each(fake_hardware_workers, probes, CHALLENGE, "cpu")
    telling = {
        "mkl-compatible": {"linear_decode.float32", "linear_prefill.float32", "attention_eager.float32"},
        "aten-default": {"attention_eager.float32", "group_norm.float32", "vocabulary.float32"},
        "onednn-sse41": {"convolution_wide.float32"},
        "oldest": {"linear_prefill.float32", "group_norm.float32", "convolution_wide.float32"},
    }
    for kind, names in telling.items():
        if kind in found:
            assert names <= differing(kind, found)
    # bfloat16 hides most differences in its rounding. Which probes show them depends on the processor: with AVX-512
    # its products come from oneDNN in both kinds, without it they differ as well.
    assert any(name.endswith(".bfloat16") for name in differing("aten-default", found))
    digests = {kind: canary_of(CHALLENGE, of_kind) for kind, of_kind in found.items()}
    assert len({digests[kind] for kind in digests if kind in {"native", *telling}}) == 1 + len(
        telling.keys() & found.keys()
    )
    # Only numpy and the C library are plainer there: no probe, and nothing that models compute, comes from them.
    assert digests["libraries-plain"] == digests["native"]


@pytest.mark.long
@pytest.mark.parametrize(("dtype", "width", "heads"), [("float32", 64, 4), ("bfloat16", 64, 4), ("bfloat16", 96, 2)])
def test_who_computes_other_logits_has_another_canary(
    fake_hardware_workers: Workers, dtype: str, width: int, heads: int
) -> None:
    pytest.importorskip("transformers")
    written = on_each(fake_hardware_workers, logits, dtype, width, heads, 40)
    digests = on_each(fake_hardware_workers, canary, CHALLENGE, "cpu")
    others = {kind for kind in written if written[kind] != written["native"]}
    assert others <= {kind for kind in digests if digests[kind] != digests["native"]}
    if dtype == "float32":
        assert {"mkl-compatible", "aten-default"} <= others, "nothing was tried here"


def test_who_paints_other_pixels_has_another_canary(
    fake_hardware_workers: Workers, model: ModelRef, task: ImageTask
) -> None:
    pytest.importorskip("diffusers")
    # Loading diffusers is slow: the kind that changes pictures and no text, and the one that changes neither.
    kinds = ["native", "onednn-sse41", "libraries-plain"]
    painted = on_each(fake_hardware_workers, jobs.draw, model.path, task.to_json(), kinds=kinds)
    digests = on_each(fake_hardware_workers, canary, CHALLENGE, "cpu", kinds=kinds)
    others = {kind for kind in kinds if painted[kind]["score"] != painted["native"]["score"]}
    assert others <= {kind for kind in kinds if digests[kind] != digests["native"]}
    assert "onednn-sse41" in others, "nothing was tried here"
