"""Samples: columns that are checked once."""

from typing import Any

import numpy as np
import pytest

import crynux_validate as cv
from crynux_validate.calibration import Sample, Samples

ROW: dict[str, Any] = {
    "kind": "a", "task": "t", "role": "honest", "algorithm": "phash/1", "score": "0f" * 8, "model": "m"
}  # fmt: skip


def row(**changes: Any) -> Sample:
    return Sample(**ROW | changes)


def test_rows_become_columns() -> None:
    found = Samples.of(
        [
            row(margin=0.25, degenerate=False, pixels=b"\xab" * 32),
            row(kind="b", score=bytes(8), degenerate=True),
            row(kind="", model="", role="unrelated", task="photo"),
            row(role="cheat:half-steps"),
        ]
    )
    assert (len(found), found.images, found.algorithm) == (4, 1, "phash/1")
    assert found.kinds.list() == ["a", "b", "", "a"]
    assert found.roles.names == ("cheat:half-steps", "honest", "unrelated")
    assert found.cheats == ("half-steps",)
    assert found.degenerate.tolist() == [False, True, False, False]
    assert found.pixels.list() == ["ab" * 32, None, None, None]
    np.testing.assert_array_equal(found.margins, [0.25, np.nan, np.nan, np.nan])
    assert found.hashes.tolist() == [[0x0F0F0F0F0F0F0F0F], [0], [0x0F0F0F0F0F0F0F0F], [0x0F0F0F0F0F0F0F0F]]
    assert found.having("honest").kinds.names == ("a", "b")
    assert len(found.having("cheat:none")) == 0


def test_equal_answers_stand_there_once_and_joining_is_the_same() -> None:
    rows = [row(), row(kind="b"), row(role="cheat:x")]
    one = Samples.of(rows)
    both = one + Samples.of([*rows, row(task="u")])
    assert (len(one), len(both)) == (3, 4)
    parts = [row(role="unrelated"), row(role="unrelated")]
    assert len(Samples.of(parts)) == 2, "two parts of one photograph may be equal"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"algorithm": "dhash/1"}, "algorithm is 'dhash/1'"),
        ({"score": "0f" * 7}, "expected 8 bytes for each"),
        ({"score": b""}, "expected 8 bytes for each"),
        ({"score": "xx" * 8}, "number of hexadecimal digits"),
        ({"score": bytes(8 * 17)}, "1 to 16 images"),
        ({"score": 5}, "expected 8 bytes"),
        ({"role": "cheat"}, "expected honest, unrelated, or cheat:<name>"),
        ({"role": "cheat:"}, "expected honest"),
        ({"role": "cheat:Half Steps"}, "expected honest"),
        ({"role": "cheat:unrelated"}, "expected honest"),
        ({"role": "cheat:honest"}, "expected honest"),
        ({"role": "Honest"}, "expected honest"),
        ({"kind": ""}, "kind is ''"),
        ({"kind": 3}, r"rows\[0\]: kind is 3"),
        ({"task": ""}, "task is ''"),
        ({"task": "x" * 201}, "1 to 200 printable"),
        ({"task": "a\nb"}, "printable"),
        ({"model": ""}, "model is ''"),
        ({"margin": float("nan")}, r"rows\[0\]: margin is nan"),
        ({"margin": float("inf")}, r"rows\[0\]: margin is inf"),
        ({"margin": -0.1}, r"rows\[0\]: margin is -0.1"),
        ({"margin": True}, r"rows\[0\]: margin is True"),
        ({"margin": "0.1"}, r"rows\[0\]: margin is '0.1'"),
        ({"degenerate": True}, "not degenerate; leave the flag out"),
        ({"degenerate": False, "score": bytes(8)}, "is degenerate; leave the flag out"),
        ({"degenerate": 1}, r"rows\[0\]: degenerate is 1"),
        ({"pixels": "ab"}, "64 hexadecimal digits"),
        ({"pixels": b"ab"}, "64 hexadecimal digits"),
    ],
)
def test_rows_that_are_none(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(cv.errors.InvalidInputError, match=said):
        Samples.of([row(**changes)])


def test_rows_that_do_not_go_together() -> None:
    with pytest.raises(cv.errors.InvalidInputError, match=r"has 1 x phash-go/1, and rows\[0\] has 1 x phash/1"):
        Samples.of([row(), row(kind="b", algorithm="phash-go/1")])
    with pytest.raises(cv.errors.InvalidInputError, match=r"rows\[1\] has 2 x phash/1, and rows\[0\] has 1 x phash/1"):
        Samples.of([row(), row(kind="b", score=bytes(16))])
    with pytest.raises(cv.errors.InvalidInputError, match="cannot be joined"):
        Samples.of([row()]) + Samples.of([row(algorithm="phash-go/1")])
    with pytest.raises(cv.errors.InvalidInputError, match="there are no samples"):
        Samples.of([])
    with pytest.raises(cv.errors.InvalidInputError, match=r"rows\[0\] is 3; expected a Sample"):
        Samples.of([3])  # type: ignore[list-item]
    with pytest.raises(cv.errors.InvalidInputError, match="there are 2 places; expected one for each of 1 rows"):
        Samples.of([row()], places=["a", "b"])
    with pytest.raises(cv.errors.InvalidInputError, match="line 2 and line 1: the kind 'a' gave two different honest"):
        Samples.of([row(), row(score="f0" * 8)], places=["line 1", "line 2"])
    with pytest.raises(cv.errors.InvalidInputError, match="expected an iterable"):
        Samples.of(3)  # type: ignore[arg-type]


def test_a_kind_that_gives_two_answers_is_named() -> None:
    """No kind of machine: its rates would be those of chance."""
    other = row(score="f0" * 8)
    with pytest.raises(
        cv.errors.InvalidInputError, match="the kind 'a' gave two different honest answers to the task 't'"
    ):
        Samples.of([row(), other])
    with pytest.raises(cv.errors.InvalidInputError, match="the kind 'a' gave two different"):
        Samples.of([row()]) + Samples.of([other])
    with pytest.raises(cv.errors.InvalidInputError, match="two different cheat:x answers"):
        Samples.of([row(role="cheat:x"), row(role="cheat:x", score="f0" * 8)])
    with pytest.raises(cv.errors.InvalidInputError, match="two different"):
        Samples.of([row(pixels=bytes(32)), row(pixels=b"\1" * 32)])
    with pytest.raises(cv.errors.InvalidInputError, match="two different"):
        Samples.of([row(pixels=bytes(32)), row(), row(pixels=b"\1" * 32)])
    assert len(Samples.of([row(), row(score="f0" * 8, model="n")])) == 2


def test_of_equal_answers_one_with_a_digest_is_kept() -> None:
    for rows in ([row(), row(pixels=bytes(32))], [row(pixels=bytes(32)), row()]):
        assert Samples.of(rows).pixels.names == ("0" * 64,)


def test_equal_pixels_with_other_hashes_are_refused() -> None:
    """As if a machine that deviates was to count as one that does not."""
    one = row(pixels=bytes(32))
    for other in (
        row(kind="b", score="f0" * 8, pixels=bytes(32)),
        row(role="unrelated", score="0" * 16, pixels=bytes(32)),
    ):
        with pytest.raises(cv.errors.InvalidInputError, match="equal pixels have one hash"):
            Samples.of([one, other])
        with pytest.raises(cv.errors.InvalidInputError, match="equal pixels have one hash"):
            Samples.of([one]) + Samples.of([other])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"hashes": np.zeros(2)}, "expected uint64"),
        ({"hashes": [1, 2]}, "hashes is list; expected uint64"),
        ({"hashes": np.zeros((0, 1), np.uint64)}, "at least one row"),
        ({"hashes": np.zeros((2, 17), np.uint64)}, "1 to 16 images"),
        ({"hashes": np.zeros((2, 1, 1), np.uint64)}, "expected uint64 of the shape"),
        ({"task": ["t"]}, r"task is \['t'\]; expected 2 texts"),
        ({"task": 5}, "task is 5; expected 2 texts"),
        ({"margin": [0.1]}, "expected 2 numbers"),
        ({"margin": np.array([0.1, np.nan])}, r"margin\[1\] is"),
        ({"degenerate": [False]}, "expected 2 flags"),
        ({"pixels": ["a"]}, "expected 2 digests"),
    ],
)
def test_columns_that_are_none(changes: dict[str, Any], said: str) -> None:
    good = {"algorithm": "phash/1", "hashes": np.full(2, 0x0F0F0F0F0F0F0F0F, np.uint64), "task": ["t", "u"]}
    good |= {"kind": "a", "model": "m", "role": "honest"}
    assert len(Samples.from_columns(**good)) == 2  # type: ignore[arg-type]
    with pytest.raises(cv.errors.InvalidInputError, match=said):
        Samples.from_columns(**good | changes)
