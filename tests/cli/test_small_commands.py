"""hash, compare, judge and the command line itself, as a user or a program calls them."""

import io
import json
import re
import signal
import subprocess
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import crynux_validate
from crynux_validate.cli import main
from crynux_validate.hashing import image_hash
from crynux_validate.keyed import KeyedScore

A, NEAR_A, FAR_FROM_A = "f0f0f0f00f0f0f0f", "f0f0f0f00f0f0f0e", "0f0f0f0ff0f0f0f0"


def call(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = main(arguments)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.fixture
def picture(tmp_path: Path) -> str:
    path = tmp_path / "picture.png"
    Image.radial_gradient("L").rotate(20).convert("RGB").save(path)
    return str(path)


def test_hash_of_the_vectors(capsys: pytest.CaptureFixture[str]) -> None:
    folder = Path(str(files("crynux_validate") / "vectors" / "phash"))
    vectors = [
        vector
        for vector in json.loads((folder / "vectors.json").read_text())["vectors"]
        if vector["mode"] in ("RGB", "L") and "trns" not in vector["file"]
    ]
    names = [str(folder / "images" / vector["file"]) for vector in vectors]
    code, out, err = call(capsys, "hash", "--algorithm", "phash/1", "--json", *names)
    rows = json.loads(out)
    assert (code, err) == (0, "")
    assert [row["hash"] for row in rows] == [vector["imagehash"] for vector in vectors]
    assert [row["file"] for row in rows] == names
    assert {tuple(row) for row in rows} == {("file", "algorithm", "hash", "margin", "degenerate")}
    assert all(row["degenerate"] == (not 24 <= int(row["hash"], 16).bit_count() <= 40) for row in rows)


def test_hash_of_the_live_network(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    folder = Path(str(files("crynux_validate") / "vectors" / "phash"))
    vectors = json.loads((folder / "vectors.json").read_text())["vectors"]
    names = [str(folder / "images" / vector["file"]) for vector in vectors]
    code, out, err = call(capsys, "hash", "--algorithm", "phash-go/1", "--threads", "3", "--json", *names)
    rows = json.loads(out)
    assert (code, err) == (0, "")
    assert [(row["file"], row["hash"]) for row in rows] == [
        (name, vector["go"]) for name, vector in zip(names, vectors, strict=True)
    ]
    assert {row["algorithm"] for row in rows} == {"phash-go/1"}
    photo = tmp_path / "photo.jpg"
    Image.new("RGB", (20, 20), "red").save(photo)
    code, out, err = call(capsys, "hash", "--algorithm", "phash-go/1", str(photo), names[0])
    assert code == 2
    assert "is a JPEG file" in err
    assert names[0] in out
    assert call(capsys, "hash", "--threads", "0", names[0])[0] == 2
    code, again, _ = call(capsys, "hash", "--algorithm", "phash-go/1", "--processes", "2", "--json", *names)
    assert (code, json.loads(again)) == (0, rows)
    code, _, err = call(capsys, "hash", "--threads", "2", "--processes", "2", names[0])
    assert (code, "expected one of them" in err) == (2, True)


def test_compare_of_the_live_network(capsys: pytest.CaptureFixture[str], picture: str) -> None:
    code, out, _ = call(capsys, "compare", "--algorithm", "phash-go/1", "--json", picture, A)
    found = json.loads(out)
    assert code == 1
    assert found["algorithm"] == "phash-go/1"
    assert found["a"] == image_hash(picture, "phash-go/1").hex != image_hash(picture).hex


def test_hash_for_people(capsys: pytest.CaptureFixture[str], picture: str, tmp_path: Path) -> None:
    flat = str(tmp_path / "flat.png")
    Image.new("RGB", (20, 20), "red").save(flat)
    code, out, _ = call(capsys, "hash", picture, flat)
    first, second = out.splitlines()
    assert code == 0
    assert picture in first
    assert "degenerate" in second
    assert "degenerate" not in first


def test_hash_prints_as_it_goes_and_loses_nothing_on_an_interrupt(tmp_path: Path) -> None:
    """In a process of its own, with a real Ctrl-C once the first line is there."""
    names = [str(tmp_path / f"{number}.png") for number in range(6)]
    for number, name in enumerate(names):
        Image.effect_noise((900, 900), 50 + number).save(name)
    hashes = {name: image_hash(name).hex for name in names}
    command = [sys.executable, "-m", "crynux_validate", "hash", "--threads", "1", *names * 90]
    for as_json in (False, True):
        with subprocess.Popen(
            [*command, "--json"] if as_json else command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            first = [process.stdout.readline() for _ in range(8)]
            process.send_signal(signal.SIGINT)
            rest, err = process.stdout.read(), process.stderr.read()  # communicate() forgets what is buffered
        assert process.returncode == 130
        assert "Traceback" not in err
        printed = "".join(first) + rest
        if as_json:
            found = [(row["file"], row["hash"]) for row in json.loads(printed)]
        else:
            found = [(line.split()[1], line.split()[0]) for line in printed.splitlines()]
        assert 1 <= len(found) < len(names) * 90
        assert found == [(name, hashes[name]) for name in (names * 90)[: len(found)]]


def test_hash_shows_how_far_it_is_on_a_terminal(
    capsys: pytest.CaptureFixture[str], picture: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert call(capsys, "hash", picture, picture)[2] == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    _, out, err = call(capsys, "hash", picture, picture, picture)
    assert len(out.splitlines()) == 3
    assert re.search(r"\r\x1b\[Khashing  1 of 3 pictures\r\x1b\[K", err)
    assert "3 of 3" not in err
    assert err.endswith("\r\x1b[K")


def test_hash_goes_on_after_a_bad_file(capsys: pytest.CaptureFixture[str], picture: str, tmp_path: Path) -> None:
    text = tmp_path / "text.png"
    text.write_text("no picture")
    truncated = tmp_path / "truncated.png"
    truncated.write_bytes(Path(picture).read_bytes()[:500])
    glass = tmp_path / "glass.png"
    Image.new("RGBA", (20, 20), (255, 0, 0, 9)).save(glass)
    bad = [str(text), str(truncated), str(glass), str(tmp_path / "missing.png")]
    code, out, err = call(capsys, "hash", "--json", *bad, picture)
    assert code == 2
    assert [row["file"] for row in json.loads(out)] == [picture]
    assert len(err.splitlines()) == 4
    assert "Traceback" not in err
    code, out, err = call(capsys, "hash", "--background", "white", str(glass))
    assert (code, err) == (0, "")


def test_compare(capsys: pytest.CaptureFixture[str], picture: str) -> None:
    code, out, _ = call(capsys, "compare", picture, picture)
    assert code == 0
    assert "distance 0 of 64" in out
    code, out, _ = call(capsys, "compare", A, FAR_FROM_A, "--json")
    assert code == 1
    expected = {"algorithm": "phash/1", "a": A, "b": FAR_FROM_A, "distance": 64, "threshold": 16, "agree": False}
    assert json.loads(out) == expected
    assert call(capsys, "compare", A.upper(), NEAR_A, "--threshold", "2")[0] == 0
    assert call(capsys, "compare", A, NEAR_A, "--threshold", "1")[0] == 1
    code, _, err = call(capsys, "compare", A, NEAR_A, "--threshold", "65")
    assert code == 2
    assert "1 to 64" in err
    assert call(capsys, "compare", f"0x{A}", f"p:{NEAR_A}", "--threshold", "2")[0] == 0
    code, _, err = call(capsys, "compare", f"0x{A[2:]}", NEAR_A)
    assert (code, "not 14" in err) == (2, True), "a number that lost its first zeros is no hash"
    code, _, err = call(capsys, "compare", f"a:{A}", NEAR_A)
    assert (code, "another kind of hash" in err) == (2, True)
    code, _, err = call(capsys, "compare", A[:-1], NEAR_A)
    assert code == 2, "15 digits are no hash, and no file has that name"
    assert "16 hexadecimal digits, not 15" in err


def group(**changes: Any) -> str:
    members = {
        "node-1": {"answer": "score", "score": A},
        "node-2": {"answer": "score", "score": NEAR_A.upper()},
        "node-3": {"answer": "score", "score": FAR_FROM_A},
    }
    value = {"algorithm": "phash/1", "rule": "centre", "threshold": 24, "slash_threshold": 24, "members": members}
    return json.dumps(value | changes)


def judged(capsys: pytest.CaptureFixture[str], tmp_path: Path, text: str) -> tuple[int, str, str]:
    file = tmp_path / "group.json"
    file.write_text(text)
    return call(capsys, "judge", "--json", str(file))


def test_judge(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, out, err = judged(capsys, tmp_path, group())
    assert (code, err) == (0, "")
    assert json.loads(out) == {
        "outcome": "VALIDATED",
        "delivered_score": NEAR_A,
        "findings": {"node-1": "VALID", "node-2": "VALID", "node-3": "INVALID"},
        "distances": {"node-1": 1, "node-2": 0, "node-3": 63},
    }


@pytest.mark.parametrize(
    ("rule", "finding"),
    [({}, "BORDERLINE"), ({"safety_checker": True}, "BORDERLINE"), ({"safety_checker": False}, "INVALID")],
)
def test_judge_a_blank_picture(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, rule: dict[str, bool], finding: str
) -> None:
    members = {node: {"answer": "score", "score": score} for node, score in (("a", A), ("b", A), ("c", "0" * 16))}
    code, out, _ = judged(capsys, tmp_path, group(members=members, **rule))
    assert code == 0
    assert json.loads(out)["findings"]["c"] == finding


def test_judge_every_kind_of_answer(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    members = {
        "a": {"answer": "score", "score": A},
        "b": {"answer": "score", "score": A},
        "c": {"answer": "score", "score": A},
        "d": {"answer": "score", "score": A},
        "e": {"answer": "score", "score": A},
        "f": {"answer": "invalid_task", "code": "schema"},
        "g": {"answer": "failed", "message": "out of memory"},
        "h": {"answer": "absent"},
        "i": {"answer": "withheld"},
    }
    code, out, _ = judged(capsys, tmp_path, group(members=members))
    findings = json.loads(out)["findings"]
    assert code == 0
    assert [findings[node] for node in "efghi"] == ["VALID", "INVALID", "ERROR", "ABSENT", "WITHHELD"]
    undecided = {"a": {"answer": "malformed", "reason": "x"}, "b": members["a"], "c": members["h"]}
    code, out, _ = judged(capsys, tmp_path, group(members=undecided))
    assert code == 0
    assert json.loads(out)["outcome"] == "NO_QUORUM"
    assert json.loads(out)["findings"] == {"a": "UNDECIDED", "b": "UNDECIDED", "c": "ABSENT"}
    assert json.loads(out)["delivered_score"] is None


def test_judge_text(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    members = {node: {"answer": "score", "score": char * 64} for node, char in (("a", "0"), ("b", "0"), ("c", "1"))}
    code, out, _ = judged(capsys, tmp_path, group(algorithm="tokens/1", members=members))
    assert code == 0
    assert json.loads(out)["findings"] == {"a": "VALID", "b": "VALID", "c": "INVALID"}


def test_judge_scores_as_neighbours_write_them(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    members = {
        node: {"answer": "score", "score": score} for node, score in (("a", f"0x{A}"), ("b", f"p:{A}"), ("c", A))
    }
    code, out, _ = judged(capsys, tmp_path, group(members=members))
    assert code == 0
    assert set(json.loads(out)["findings"].values()) == {"VALID"}
    text = {
        node: {"answer": "score", "score": score} for node, score in (("a", f"0x{A * 4}"), ("b", A * 4), ("c", A * 4))
    }
    code, out, _ = judged(capsys, tmp_path, group(algorithm="tokens/1", members=text))
    assert code == 0
    assert json.loads(out)["delivered_score"] == A * 4


@pytest.mark.parametrize("algorithm", ["tokens/1", "logits/1", "top/1"])
def test_judge_text_of_either_letter_case(capsys: pytest.CaptureFixture[str], tmp_path: Path, algorithm: str) -> None:
    scores = {"a": "ab" * 32, "b": "AB" * 32, "c": "cd" * 32}
    members = {node: {"answer": "score", "score": score, "algorithm": algorithm} for node, score in scores.items()}
    code, out, _ = judged(capsys, tmp_path, group(algorithm=algorithm, members=members))
    assert code == 0
    assert json.loads(out)["delivered_score"] == "ab" * 32
    assert json.loads(out)["findings"] == {"a": "VALID", "b": "VALID", "c": "INVALID"}
    del members["c"]
    rule = {"rule": "crynux-relay", "algorithm": algorithm, "members": members | {"c": {"answer": "absent"}}}
    members["a"]["seconds"], members["b"]["seconds"] = 2, 1  # type: ignore[assignment]
    code, out, _ = judged(capsys, tmp_path, json.dumps(rule))
    assert code == 0
    assert json.loads(out)["findings"] == {"a": "VALID", "b": "VALID", "c": "ABSENT"}


def relay(**changes: Any) -> str:
    """A group of the live network's: the middle one agrees with both others, which do not agree."""
    scores = {"first": "f0f0f0f00f0f0fff", "middle": A, "last": "fff0f0f00f0f0f0f"}
    members = {
        node: {"answer": "score", "score": score, "seconds": seconds}
        for (node, score), seconds in zip(scores.items(), (1, 2.5, 3), strict=True)
    }
    return json.dumps({"rule": "crynux-relay", "threshold": 6, "members": members} | changes)


def test_judge_as_the_live_network(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, out, err = judged(capsys, tmp_path, relay())
    assert (code, err) == (0, "")
    assert json.loads(out) == {
        "outcome": "VALIDATED",
        "delivered_score": "f0f0f0f00f0f0fff",
        "findings": {"first": "VALID", "middle": "VALID", "last": "INVALID"},
        "distances": {"first": 0, "middle": 4, "last": 8},
    }
    apart = {"answer": "score", "score": "f0f0f0f00f00f0f0", "seconds": 1}
    value = json.loads(relay())
    del value["threshold"]
    value["members"]["first"] = apart
    value["members"]["last"] = {"answer": "withheld"}
    code, out, _ = judged(capsys, tmp_path, json.dumps(value))
    findings = {"first": "VALID", "middle": "VALID", "last": "ABSENT"}
    assert json.loads(out)["findings"] == findings, "20 apart, and 24 is the live network's threshold"


def test_judge_reads_standard_input(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(group().encode())))
    code, out, _ = call(capsys, "judge", "-")
    assert code == 0
    assert "node-3  INVALID     distance 63" in out


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "not JSON"),
        ("[]", "JSON object"),
        ("{}", "members"),
        (group(members={}), "has 0 members"),
        (group(members=[]), "members"),
        (group(rule="majority"), "'centre'"),
        (group(rule="majority"), "'crynux-relay'"),
        (group(threshold=65), "1 to 64"),
        (group(slash_threshold=65), "slash_threshold is 65"),
        (group(algorithm="tokens/1"), "16 characters; expected 64 hexadecimal digits"),
        (group(algorithm=["phash/1"]), "['phash/1']"),
        (group(members={"a": {"answer": "score", "score": A, "algorithm": "tokens/1"}}), "a is tokens/1 in a group of"),
        (group(members={"a": {"answer": "score", "score": A, "algorithm": "dhash/1"}}), "algorithm of a is 'dhash/1'"),
        (group(members={"a": {"answer": "score", "score": A + "f"}}), "an even number"),
        (group(members={"a": {"answer": "score", "score": A[:-2]}}), "7 bytes"),
        (group(members={"a": {"answer": "score", "score": A, "seconds": 1}}), "no field 'seconds'"),
        (relay(threshold=0), "1 to 64"),
        (relay(slash_threshold=24), "slash_threshold is not for"),
        (relay(safety_checker=True), "safety_checker is not for"),
        (group(safety_checker="no"), "safety_checker is 'no'; expected True or False"),
        (relay(members=json.loads(group())["members"]), "no execution time of node-1"),
        (
            relay(members={n: {"answer": "score", "score": A, "seconds": -1} for n in "abc"}),
            "execution time of a is -1",
        ),
        (relay(members={n: {"answer": "score", "score": A, "seconds": "1"} for n in "abc"}), "of a is '1'"),
        (relay(members={n: {"answer": "score", "score": A, "seconds": float("nan")} for n in "abc"}), "NaN"),
        (relay(members={n: {"answer": "score", "score": A, "seconds": 1} for n in "abcde"}), "needs 3"),
        (group(algorithm="dhash/1"), "dhash/1"),
        (group(threshold=0), "1 to 64"),
        (group(threshold="24"), "'24'"),
        (group(threshold=24.0), "24.0"),
        (group(slash_threshold=8), "expected at least the"),
        (group(quorum=2), "quorum"),
        (group(members={"a": {"answer": "score"}, "b": {}, "c": {}}), "score is missing"),
        (group(members={"a": {"answer": "score", "score": "f0f"}}), "a: "),
        (group(members={"a": {"answer": "score", "score": ""}}), "0 bytes"),
        (group(members={"a": {"answer": "score", "score": 5}}), "5"),
        (group(members={"a": {"answer": "yes"}}), "yes"),
        (group(members={"a": {"answer": "invalid_task", "code": "failed"}}), "unsupported"),
        (group(members={"a": {"answer": "invalid_task", "code": "nope"}}), "nope"),
        (group(members={"a": {"answer": "absent", "score": A}}), "no field 'score'"),
        (group(members={"a": []}), "None"),
        (group(members={"a": {"answer": []}}), "[]"),
        (group(members={"a": {"answer": {"x": 1}}}), "expected score"),
        (group(members={"a": {"answer": "failed", "message": "\ud800"}}), "surrogate"),
        (group(rule=["centre"]), "'centre'"),
    ],
)
def test_judge_bad_input(capsys: pytest.CaptureFixture[str], tmp_path: Path, text: str, word: str) -> None:
    code, out, err = judged(capsys, tmp_path, text)
    assert code == 2
    assert out == ""
    assert word in err
    assert "Traceback" not in err


def test_judge_missing_file(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, _, err = call(capsys, "judge", str(tmp_path / "missing.json"))
    assert code == 2
    assert "missing.json" in err


def test_version_and_help() -> None:
    for arguments, word in (
        (["--version"], crynux_validate.__version__),
        (["--help"], "exit code"),
        (["judge", "-h"], "JSON"),
    ):
        found = subprocess.run(
            [sys.executable, "-m", "crynux_validate", *arguments], capture_output=True, text=True, check=True
        )
        assert word in found.stdout


def test_unknown_command() -> None:
    found = subprocess.run(
        [sys.executable, "-m", "crynux_validate", "dance"], capture_output=True, text=True, check=False
    )
    assert found.returncode == 2
    assert "dance" in found.stderr


def test_a_reader_that_stops_early(picture: str) -> None:
    command = f'"{sys.executable}" -m crynux_validate hash {" ".join([picture] * 300)} | head -1'
    found = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert "Traceback" not in found.stderr
    assert "Exception" not in found.stderr


def test_keyed(capsys: pytest.CaptureFixture[str], picture: str) -> None:
    seed = "ab" * 32
    expected = KeyedScore.from_images(bytes.fromhex(seed), [picture, picture])
    assert call(capsys, "keyed", seed, picture, picture) == (0, f"{expected.to_bytes().hex()}\n", "")
    code, out, _ = call(capsys, "keyed", seed, picture, picture, "--json")
    said = {"algorithm": "keyed/1", "score": expected.hex, "answer": expected.to_bytes().hex()}
    assert (code, json.loads(out)) == (0, said)
    for wrong, match in (
        (("ab", picture), "the seed has 2 characters; expected 64"),
        ((seed, f"{picture}.none"), "cannot be read"),
    ):
        code, out, err = call(capsys, "keyed", *wrong)
        assert (code, out) == (2, "")
        assert match in err
