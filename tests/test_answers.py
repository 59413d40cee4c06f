"""Answers, openings, and when two answers agree (protocol A1-A3, C1, C4)."""

import contextlib
import hashlib
import pickle
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from crynux_validate import (
    ErrorReport,
    ImageScore,
    ImageTask,
    ModelRef,
    Opening,
    TextScore,
    TextTask,
    errors,
    hamming,
    image_hash,
)
from crynux_validate.answers import Answer, agree, answer_from_bytes, check_answer, pixels_digest, similarity_score
from crynux_validate.errors import InvalidAnswerError, InvalidInputError, InvalidTaskError, PipelineError

digests = st.binary(min_size=32, max_size=32)
image_scores = st.builds(
    ImageScore, st.integers(1, 16).flatmap(lambda n: st.binary(min_size=8 * n, max_size=8 * n)), digests
)
text_scores = digests.map(lambda score: TextScore(score, score)) | st.builds(
    TextScore, digests, digests, st.just("logits/1")
)
reports = st.builds(ErrorReport, st.sampled_from(["schema", "limits", "unsupported"])) | st.builds(
    ErrorReport, st.just("failed"), st.text(max_size=200)
)
answers = image_scores | text_scores | reports


@given(answers)
def test_bytes_and_back(answer: Answer) -> None:
    assert answer_from_bytes(answer.to_bytes()) == answer
    assert pickle.loads(pickle.dumps(answer)) == answer


@given(answers, st.data())
def test_damaged_bytes_are_another_answer_or_an_error(answer: Answer, data: st.DataObject) -> None:
    raw = bytearray(answer.to_bytes())
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    with contextlib.suppress(InvalidAnswerError):
        assert answer_from_bytes(bytes(raw)) != answer
    for cut in (answer.to_bytes()[:-1], answer.to_bytes() + b"\0"):
        with contextlib.suppress(InvalidAnswerError):
            assert answer_from_bytes(cut) != answer


@given(st.binary(max_size=200))
def test_any_bytes_are_an_answer_or_an_error(raw: bytes) -> None:
    with contextlib.suppress(InvalidAnswerError):
        assert answer_from_bytes(raw).to_bytes() == raw


@given(answers, answers, st.integers(1, 64))
def test_agreement_is_symmetric(a: Answer, b: Answer, threshold: int) -> None:
    assert agree(a, b, threshold) == agree(b, a, threshold)
    if isinstance(a, ErrorReport) and a.code == "failed":
        assert not agree(a, a, threshold)
    else:
        assert agree(a, a, threshold)


def score(*values: int) -> ImageScore:
    return ImageScore(b"".join(value.to_bytes(8, "big") for value in values))


def test_every_block_must_be_below_the_threshold() -> None:
    a, b = score(0, 0), score(0b1111, 0b111)
    assert similarity_score(a, b) == 4
    assert agree(a, b, 5)
    assert not agree(a, b, 4), "strictly less"
    assert similarity_score(a, score(0)) is None
    assert not agree(a, score(0), 64)


def test_the_result_digest_does_not_matter_for_agreement() -> None:
    assert agree(ImageScore(bytes(8), bytes(32)), ImageScore(bytes(8), bytes(31) + b"\1"), 1)


def test_hashes_agree_like_the_scores_of_one_image() -> None:
    a, b = (image_hash(Image.linear_gradient("L").rotate(angle)) for angle in (30, 31))
    distance = hamming(a, b)
    assert agree(a, b, distance + 1)
    assert distance == 0 or not agree(a, b, distance)
    assert agree(a, ImageScore(a.bits), 1)


@pytest.mark.parametrize("threshold", [0, 65, True, 16.0, "16"])
def test_bad_thresholds(threshold: Any) -> None:
    with pytest.raises(InvalidInputError, match="1 to 64"):
        agree(score(0), score(0), threshold)


def test_kinds_never_agree() -> None:
    image, text, report = score(0), TextScore(bytes(32)), ErrorReport("schema")
    assert not agree(image, text, 64)
    assert not agree(image, report, 64)
    assert not agree(TextScore(bytes(32)), TextScore(bytes(32), algorithm="logits/1"), 64)
    assert agree(report, ErrorReport("schema"), 1)
    assert not agree(report, ErrorReport("limits"), 64)


@pytest.mark.parametrize(
    "make",
    [
        lambda: ImageScore(b""),
        lambda: ImageScore(bytes(7)),
        lambda: ImageScore(bytes(8 * 17)),
        lambda: ImageScore(bytes(8), bytes(31)),
        lambda: ImageScore(bytes(8), algorithm="phash/9"),  # type: ignore[arg-type]
        lambda: ImageScore("00" * 8),  # type: ignore[arg-type]
        lambda: ImageScore.from_hex("0" * 15),
        lambda: ImageScore.from_hex("g" * 16),
        lambda: TextScore(bytes(31)),
        lambda: TextScore(bytes(32), algorithm="phash/1"),  # type: ignore[arg-type]
        lambda: ErrorReport("nope"),  # type: ignore[arg-type]
        lambda: ErrorReport("schema", "text"),
        lambda: ErrorReport("failed", "x" * 1001),
        lambda: ErrorReport("failed", "\ud800"),
        lambda: ErrorReport("failed", 5),  # type: ignore[arg-type]
        lambda: agree(ImageScore(bytes(8)), 5, 16),  # type: ignore[arg-type]
        lambda: ImageScore(bytes(8)).to_bytes(),
        lambda: answer_from_bytes(b""),
        lambda: answer_from_bytes(b"\x04"),
        lambda: Opening(b"x", bytes(31)),
        lambda: Opening(bytes(4096)),
        lambda: Opening.from_bytes(bytes(10)),
        lambda: Opening.from_bytes(bytes(4097)),
        lambda: Opening(b"").commitment("00" * 32, node="n", round=3),
        lambda: Opening(b"").commitment("00" * 32, node="n", round=True),
        lambda: Opening(b"").commitment("00" * 32, node=""),
        lambda: Opening(b"").commitment("00" * 31, node="n"),
        lambda: Opening(b"").commitment(bytes(32), node="n"),  # type: ignore[arg-type]
    ],
)
def test_malformed(make: Any) -> None:
    with pytest.raises(InvalidInputError) as caught:
        make()
    assert str(caught.value)


def test_check_answer() -> None:
    task = ImageTask(model=ModelRef("a/b", revision="0" * 40), prompt="x", images=2)
    check_answer(task, score(0, 0))
    check_answer(task, ErrorReport("failed", "x"))
    with pytest.raises(InvalidAnswerError, match="2 images"):
        check_answer(task, score(0))
    with pytest.raises(InvalidAnswerError, match="the answer is a text score, but the task is an image task"):
        check_answer(task, TextScore(bytes(32)))


def test_a_report_says_why() -> None:
    assert ErrorReport.of(InvalidTaskError("steps", "is -1", "limits")) == ErrorReport("limits")
    assert ErrorReport.of(MemoryError("no room")) == ErrorReport("failed", "MemoryError: no room")
    assert ErrorReport.of(RuntimeError("é" * 2000)).to_bytes()


def test_the_protocols_table_of_errors_is_what_a_node_reports() -> None:
    """Every error that a run can end in, and every code of `InvalidTaskError`, with the report that is made of it."""
    page = (Path(__file__).parent.parent / "docs" / "protocol.md").read_text("utf-8")
    rows = re.findall(r"^ +\| [^|]+ \| `(\w+Error)` \| `(\w+)`(?: `(\w+)`)? \|$", page, re.MULTILINE)
    runs = {name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, PipelineError)}
    assert {name for name, *_ in rows} == runs | {"InvalidTaskError", "MissingExtraError"}
    assert {code for _, report, code in rows if report == "INVALID_TASK"} == {"schema", "limits", "unsupported"}
    for name, report, code in rows:
        kind = getattr(errors, name)
        error = kind("steps", "is wrong", code) if kind is InvalidTaskError else Exception.__new__(kind)
        found = ErrorReport.of(error)
        assert (found.code, found.invalid_task) == (code or "failed", report == "INVALID_TASK"), name


def test_score_of_pictures() -> None:
    pictures = [Image.linear_gradient("L").convert("RGB"), Image.radial_gradient("L").resize((3, 2))]
    found = ImageScore.from_images(pictures)
    assert found.hashes == b"".join(image_hash(picture).bits for picture in pictures)
    tag = b"crynux-validate/pixels/1"
    preimage = len(tag).to_bytes(4, "big") + tag
    for width, height, channels, picture in ((256, 256, 3, pictures[0]), (3, 2, 1, pictures[1])):
        preimage += b"".join(n.to_bytes(4, "big") for n in (width, height, channels)) + picture.tobytes()
    assert found.result_digest == hashlib.sha256(preimage).digest()


def test_only_pictures_of_8_bit_samples_have_a_digest() -> None:
    for mode in ("P", "1", "I;16", "RGBA"):
        with pytest.raises(InvalidInputError, match=mode):
            pixels_digest([Image.new(mode, (8, 8))])


def test_degenerate_blocks() -> None:
    assert score(1 << 63, 0xFFFFFFFF00000000, 2**23 - 1, 2**24 - 1, 2**40 - 1, 2**41 - 1).degenerate == (0, 2, 5)


@given(st.binary(max_size=300), digests)
def test_an_opening_opens_one_commitment(answer_bytes: bytes, nonce: bytes) -> None:
    opening = Opening(answer_bytes, nonce)
    assert Opening.from_bytes(opening.to_bytes()) == opening
    names: dict[str, Any] = {"bound_to": "0a" * 32, "node": "n"}
    own = opening.commitment(**names)
    changes: list[dict[str, Any]] = [{"bound_to": "0b" * 32}, {"node": "o"}, {"round": 2}]
    others = [opening.commitment(**(names | change)) for change in changes]
    others.append(Opening(answer_bytes + b"\0", nonce).commitment(**names))
    others.append(Opening(answer_bytes, nonce[:-1] + bytes([nonce[-1] ^ 1])).commitment(**names))
    assert own not in others


def test_nonces_are_fresh() -> None:
    assert Opening.of(ErrorReport("schema")) != Opening.of(ErrorReport("schema"))
    assert "nonce" not in repr(Opening.of(ErrorReport("schema")))


@given(st.lists(st.lists(st.integers(0, 2**32 - 1), max_size=5), min_size=1, max_size=4), st.data())
def test_a_text_score_binds_every_token_and_where_it_stands(sequences: list[list[int]], data: st.DataObject) -> None:
    other = data.draw(st.lists(st.lists(st.integers(0, 2**32 - 1), max_size=5), min_size=1, max_size=4))
    a, b = TextScore.from_tokens(sequences), TextScore.from_tokens(other)
    assert (a == b) == (sequences == other)
    assert answer_from_bytes(a.to_bytes()) == a
    assert a.score == a.result_digest
    bound = TextScore.from_tokens(sequences, [[bytes(32)] * len(ids) for ids in sequences])
    assert bound.result_digest == a.score != bound.score
    assert not agree(a, bound, 16)
    assert TextScore.from_hex(a.hex.upper()).score == a.score


@pytest.mark.parametrize(
    ("sequences", "logits", "word"),
    [
        ([], None, "0 sequences; expected 1 to 16"),
        ([[1]] * 17, None, "17 sequences"),
        ([[-1]], None, "a token id is -1"),
        ([[2**32]], None, "from 0 to 2"),
        ([[1.5]], None, "a token id is 1.5"),
        ([["1"]], None, "a token id is '1'"),
        ([[1, 2]], [[bytes(32)]], "have [2] tokens and [1] digests"),
        ([[1]], [[bytes(31)]], "expected 32 bytes for each token"),
        ([[1], [2]], [[bytes(32)]], "[1, 1] tokens and [1] digests"),
    ],
)
def test_tokens_that_are_none(sequences: Any, logits: Any, word: str) -> None:
    with pytest.raises(InvalidAnswerError) as caught:
        TextScore.from_tokens(sequences, logits)
    assert word in str(caught.value)


def test_a_text_score_from_a_table() -> None:
    for text in ("ab" * 31, "zz" * 32, "a" * 63):
        with pytest.raises(InvalidInputError, match="hexadecimal digits"):
            TextScore.from_hex(text)


def test_text_answers_fit_text_tasks_only() -> None:
    model = ModelRef("owner/name", revision="0" * 40)
    text, picture = TextTask(model=model, prompt="a"), ImageTask(model=model, prompt="a")
    score = TextScore.from_tokens([[1, 2]])
    check_answer(text, score)
    check_answer(text, ErrorReport("failed"))
    for task, answer, word in (
        (picture, score, "the answer is a text score, but the task is an image task"),
        (text, ImageScore(bytes(8), bytes(32)), "the answer is an image score, but the task is a text task"),
        (text.replace(binding="logits"), score, "the task needs logits/1"),
    ):
        with pytest.raises(InvalidAnswerError, match=word):
            check_answer(task, answer)


@given(image_scores, text_scores)
def test_scores_are_read_as_neighbours_write_them(images: ImageScore, text: TextScore) -> None:
    for digits in (images.hex, images.hex.upper()):
        for written in (digits, f"0x{digits}", f"0X{digits}", f"p:{digits}"):
            assert ImageScore.from_hex(written) == ImageScore(images.hashes)
    for written in (f"0x{text.hex}", f"0X{text.hex.upper()}"):
        assert TextScore.from_hex(written, text.algorithm).score == text.score


HASH = "a5ec4e43627d198e"


@pytest.mark.parametrize(
    ("text", "word"),
    [
        *(
            (f"{kind}:{HASH}", "another kind of hash; expected hexadecimal digits, also after 0x or p:")
            for kind in "adw"
        ),
        ("0x", "0 bytes"),
        ("p:", "0 bytes"),
        (f"0x0x{HASH}", "hexadecimal"),
        (f"p:0x{HASH}", "hexadecimal"),
        (f"0xp:{HASH}", "hexadecimal"),
        (f"P:{HASH}", "hexadecimal"),
        (f" 0x{HASH}", "hexadecimal"),
        (f"0x{HASH}\n", "hexadecimal"),
        (f"{HASH}p:{HASH}", "hexadecimal"),
        (f"0x{HASH[1:]}", "even number"),
        (f"0x{HASH[2:]}", "7 bytes"),
        (f"0x{HASH[:-1]}\uff11", "hexadecimal"),
        (bytes.fromhex(HASH), "expected a string"),
    ],
)
def test_what_is_no_image_score(text: Any, word: str) -> None:
    with pytest.raises(InvalidInputError, match=word):
        ImageScore.from_hex(text)


@pytest.mark.parametrize("text", [f"p:{HASH * 4}", f"0x{HASH * 3}", f"0x0x{HASH * 4}", "0x"])
def test_what_is_no_text_score(text: str) -> None:
    with pytest.raises(InvalidInputError, match="a text score"):
        TextScore.from_hex(text)
