"""Proofs of a trace: they fit the one answer that they are of, and anything else is named."""

import pickle
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import crynux_validate as cv
from crynux_validate.audits.layout import Content, Leaf, leaves_of, step_count
from crynux_validate.audits.proof import TraceProof, proof_size
from crynux_validate.audits.trace import Trace
from crynux_validate.errors import InvalidAnswerError, InvalidInputError
from crynux_validate.schedulers import SCHEDULERS
from tests.audits.making import LATENT, TASK, answer_of, random_trace

TRACE = random_trace()
ANSWER = answer_of(TRACE)
PROOF = TRACE.prove(1, [2, 4])
DATA = PROOF.to_bytes()


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_any_steps_can_be_proved_and_read_again(scheduler: str, dtype: str) -> None:
    task = TASK.replace(scheduler=scheduler, dtype=dtype)
    trace = random_trace(task)
    for image in range(task.images):
        for steps in ([0], [step_count(task) - 1], list(range(step_count(task)))):
            for pixels in (True, False):
                proof = trace.prove(image, steps, pixels=pixels)
                proof.check(answer_of(trace))
                data = proof.to_bytes()
                assert TraceProof.from_bytes(data, task) == proof
                assert len(data) == proof_size(task, image, steps, LATENT, pixels=pixels)


def test_what_a_proof_shows_is_what_the_trace_took() -> None:
    contents: dict[Leaf, np.ndarray] = {}
    task = TASK.replace(dtype="bfloat16")
    trace = Trace(task, LATENT)
    numbers = np.random.default_rng(2)
    for leaf in leaves_of(task):
        if leaf.content is Content.PIXELS:
            contents[leaf] = numbers.integers(0, 256, (64, 64, 3), np.uint8)
            trace.append(contents[leaf].tobytes())
        else:
            wide = numbers.standard_normal(LATENT).astype("<f4").view("<u4") & 0xFFFF0000
            contents[leaf] = wide.view("<f4")
            trace.append((wide >> 16).astype("<u2").tobytes())
    proof = trace.prove(1, [3])
    assert len(proof.contents) == 7
    for leaf in proof.contents:
        assert np.array_equal(proof.array(leaf.content, leaf.step), contents[leaf])
    with pytest.raises(InvalidInputError, match="the prediction of step 5 of image 1 is not in the proof of the steps"):
        proof.array(Content.PREDICTION, 5)


@settings(max_examples=200)
@given(st.integers(0, len(DATA) - 1), st.integers(1, 255))
def test_no_changed_byte_passes(place: int, change: int) -> None:
    changed = bytearray(DATA)
    changed[place] ^= change
    with pytest.raises(InvalidInputError):
        TraceProof.from_bytes(bytes(changed), TASK).check(ANSWER)


@given(st.integers(0, len(DATA) - 1))
def test_a_proof_that_is_cut_off_is_refused(end: int) -> None:
    with pytest.raises(InvalidInputError, match="bytes"):
        TraceProof.from_bytes(DATA[:end], TASK)


def test_what_else_is_no_proof() -> None:
    with pytest.raises(InvalidInputError, match=r"has \d+ bytes; expected \d+ for its steps"):
        TraceProof.from_bytes(DATA + b"\0", TASK)
    with pytest.raises(InvalidInputError, match=r"is for the task .*, not for"):
        TraceProof.from_bytes(DATA, TASK.replace(seed=9))
    with pytest.raises(InvalidInputError, match="has no trace"):
        TraceProof.from_bytes(DATA, TASK.replace(binding="pixels"))
    with pytest.raises(InvalidInputError, match="expected bytes"):
        TraceProof.from_bytes("text", TASK)  # type: ignore[arg-type]
    head = DATA.index(bytes.fromhex(TASK.digest)) + 32
    for at, number, said in [
        (0, 2, "the image is 2; expected an integer from 0 to 1"),
        (1, 65, "latents of shape"),
        (2, 2**31, "latents of shape"),
        (4, 2, "has 2 for its picture"),
        (5, 2**32 - 1, "4294967295 steps"),
        (6, 6, "a step is 6; expected an integer from 0 to 5"),
        (7, 2, "have one step twice"),
        (7, 1, "expected ascending numbers"),
    ]:
        changed = bytearray(DATA)
        changed[head + 4 * at : head + 4 * at + 4] = number.to_bytes(4, "big")
        with pytest.raises(InvalidInputError, match=said):
            TraceProof.from_bytes(bytes(changed), TASK)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_values_that_are_no_numbers_are_refused(dtype: str, value: float) -> None:
    task = TASK.replace(dtype=dtype)
    proof = random_trace(task).prove(0, [1])
    leaf = Leaf(0, Content.PREDICTION, 1)
    wide = np.array([value], "<f4")
    bits = wide.view("<u4") >> 16
    bad = {"float32": wide, "float16": wide.astype("<f2"), "bfloat16": bits.astype("<u2")}[dtype].tobytes()
    contents = {**proof.contents, leaf: bad + proof.contents[leaf][len(bad) :]}
    data = proof.to_bytes().replace(proof.contents[leaf], contents[leaf])
    with pytest.raises(InvalidInputError, match="the prediction of step 1 of image 0 has values that are infinite or"):
        TraceProof.from_bytes(data, task)


def test_a_proof_fits_no_other_answer() -> None:
    other = answer_of(random_trace(seed=2))
    with pytest.raises(InvalidInputError, match="is for another answer, or was changed"):
        PROOF.check(other)
    with pytest.raises(InvalidInputError, match="no result digest"):
        PROOF.check(cv.ImageScore(ANSWER.hashes))
    with pytest.raises(InvalidAnswerError, match="1 hashes; the task has 2"):
        PROOF.check(cv.ImageScore(ANSWER.hashes[:8], ANSWER.result_digest))
    with pytest.raises(InvalidInputError, match="expected an ImageScore"):
        PROOF.check(cv.TextScore(bytes(32)))  # type: ignore[arg-type]


def test_files(tmp_path: Path) -> None:
    PROOF.save(tmp_path / "proof.bin")
    assert TraceProof.load(tmp_path / "proof.bin", TASK) == PROOF
    TRACE.save(tmp_path / "trace.bin")
    read = Trace.load(tmp_path / "trace.bin", TASK)
    assert (read.root, read.prove(1, [2, 4])) == (TRACE.root, PROOF)
    data = (tmp_path / "trace.bin").read_bytes()
    for name, content, said in [
        ("short", data[:-1], "the pixels|the picture|has .* bytes; expected"),
        ("long", data + b"\0", "goes on after its last leaf"),
        ("none", b"", "is no trace"),
    ]:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InvalidInputError, match=said):
            Trace.load(tmp_path / name, TASK)
    with pytest.raises(InvalidInputError, match="is of the task"):
        Trace.load(tmp_path / "trace.bin", TASK.replace(seed=3))
    for kind in (Trace, TraceProof):
        with pytest.raises(InvalidInputError, match="cannot be read: No such file"):
            kind.load(tmp_path / "missing", TASK)


def test_a_trace_crosses_processes() -> None:
    again = pickle.loads(pickle.dumps(TRACE))
    assert (again.root, again.prove(1, [2, 4])) == (TRACE.root, PROOF)


def test_a_large_trace_lies_on_the_disk() -> None:
    task = TASK.replace(width=1024, height=1024, images=1, steps=50)
    trace = random_trace(task, (4, 128, 128))
    assert trace.size == 101 * 4 * 128 * 128 * 4 + 1024 * 1024 * 3
    assert not trace._file._rolled
    large = random_trace(task.replace(images=3), (4, 128, 128))
    assert large._file._rolled
    large.prove(2, [49]).check(answer_of(large))


def test_a_trace_that_is_not_whole_proves_nothing() -> None:
    trace = Trace(TASK, LATENT)
    trace.append(bytes(4 * 8 * 8 * 4))
    for use in (lambda: trace.root, lambda: trace.prove(0, [1])):
        with pytest.raises(InvalidInputError, match="1 of its 28 leaves"):
            use()
    with pytest.raises(InvalidInputError, match="the prediction of step 0 of image 0 has 3 bytes; expected 1024"):
        trace.append(b"abc")
    with pytest.raises(InvalidInputError, match="it takes no more"):
        random_trace().append(b"")


@pytest.mark.parametrize(
    ("image", "steps", "said"),
    [
        (2, [0], "the image is 2"),
        (True, [0], "the image is True"),
        (0, [6], "a step is 6"),
        (0, [-1], "a step is -1"),
        (0, [], "expected a list of steps"),
        (0, "3", "expected a list of steps"),
        (0, [1, 1], "twice"),
    ],
)
def test_places_that_do_not_exist_are_refused(image: int, steps: list[int], said: str) -> None:
    with pytest.raises(InvalidInputError, match=said):
        TRACE.prove(image, steps)


def test_a_head_that_cannot_be_is_refused_before_the_rest_is_read(tmp_path: Path) -> None:
    """Four bytes that say how many steps there are must not make a list of hundreds of millions of numbers."""
    numbers = DATA.index(bytes.fromhex(TASK.digest)) + 32
    many = DATA[: numbers + 20] + (10**7).to_bytes(4, "big") + bytes(4 * 10**7)
    large = DATA[: numbers + 4] + b"".join(side.to_bytes(4, "big") for side in (64, 64, 64)) + DATA[numbers + 16 :]
    other = DATA[: numbers - 32] + bytes(32) + bytes(2**26)
    for data, said in (
        (many, "10000000 steps; expected"),
        (large, "bytes; expected"),
        (other, "is for the task"),
    ):
        path = tmp_path / "proof.bin"
        path.write_bytes(data)
        with pytest.raises(InvalidInputError, match=said):
            TraceProof.from_bytes(data, TASK)
        tracemalloc.start()
        try:
            with pytest.raises(InvalidInputError, match=said):
                TraceProof.load(path, TASK)
            assert tracemalloc.get_traced_memory()[1] < 2**22
        finally:
            tracemalloc.stop()
