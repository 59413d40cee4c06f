"""vectors, as a user or a program calls it."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from crynux_validate.cli import main
from crynux_validate.errors import InvalidInputError
from crynux_validate.vectors_check import FILES, check_vector, load_vectors

SHIPPED = load_vectors()


def call(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = main(("vectors", *arguments))
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.fixture
def copy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """An export with few pictures and products, so that it is checked quickly."""
    folder = tmp_path / "copy"
    assert call(capsys, "--export", str(folder))[0] == 0
    change(folder / FILES["phash"], lambda vectors: vectors[:1] + [v for v in vectors if v["architecture_sensitive"]])
    change(folder / FILES["tensor-core"], lambda vectors: vectors[::40])
    return folder


def change(file: Path, edit: Callable[[list[Any]], list[Any] | None]) -> None:
    value = json.loads(file.read_text("utf-8"))
    edited = edit(value["vectors"])
    value["vectors"] = value["vectors"] if edited is None else edited
    file.write_text(json.dumps(value), "utf-8")


def test_all_hold(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = call(capsys, "--verify")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert [line.split()[0] for line in lines[:-1]] == list(FILES)
    strict = sum(not vector.aside for vector in SHIPPED)
    assert lines[-1] == f"all {strict} hold"
    assert lines[-2].endswith("not counted, as they depend on the processor: 3 of 3 hold")
    for kind, line in zip(FILES, lines, strict=False):
        count = sum(vector.kind == kind and not vector.aside for vector in SHIPPED)
        assert f"{count} of" in line
        assert count > 0


def test_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(capsys, "--verify", "--json")
    found = json.loads(out)
    assert code == 0
    assert (found["holds"], found["failed"], found["failed_aside"]) == (True, [], [])
    assert found["kinds"]["phash"] == {"vectors": 169, "hold": 169, "aside_vectors": 3, "aside_hold": 3}
    assert sum(kind["vectors"] + kind["aside_vectors"] for kind in found["kinds"].values()) == len(SHIPPED)


def spoiled(value: Any) -> Any:
    """Another value of the same type: a digit, a word or a number is changed."""
    if value == "infinity":
        return "7.5"
    if value in (None, [], {}):
        return "something"
    if isinstance(value, str) and re.fullmatch(r"-?[0-9]+(\.[0-9]+)?(e[+-]?[0-9]+)?", value) and len(value) < 30:
        return repr(float(value) * (1 + 1e-9) or 1e-300)
    if isinstance(value, str):
        return value[:-1] + ("1" if value[-1:] == "0" else "0")
    if isinstance(value, dict):
        texts = [name for name, item in value.items() if isinstance(item, str | dict)]
        name = next(iter(texts or value))
        return value | {name: spoiled(value[name])}
    if isinstance(value, int):
        return value ^ 1
    if isinstance(value, list):
        return [*value[:-1], spoiled(value[-1])]
    raise AssertionError(f"nothing spoils {value!r}")


COMPUTED = {
    "task": ["json", "digest"],
    "answer": ["draw_digest", "seed", "node", "answer", "nonce", "opening", "commitments"],
    "text-score": ["algorithm", "score", "result_digest"],
    "pool": ["digest"],
    "draw": ["members", "unavailable", "unavailable_weight"],
    "policy": ["policy", "digest"],
    "drawn": ["draw", "digest", "verified"],
    "verdict": ["verdict"],
    "settlement": ["members", "outcome", "findings", "delivered_by", "transfers"],
    "stake": ["p", "b", "c", "f", "e", "x", "s", "slash", "per_fee", "gains"],
    "audited-stake": ["d", "a", "e", "x", "y", "v", "s", "slash", "fee", "cost", "per_fee", "gains"],
    "class": ["class", "digest", "declaration"],
    "attestation": ["ledger", "node", "nonce", "attestation", "commitment"],
    "keyed": ["draw_digest", "nonces", "token_ids", "seed", "score", "answer"],
    "keyed-values": ["picture_seed", "seed", "score", "answer"],
    "signature": [
        "secret", "commitment", "draw", "node", "draw_digest", "public_key", "signed", "signature",
    ],
    "attestation-signature": [
        "secret", "commitment", "ledger", "epoch", "node", "public_key", "signed", "signature",
    ],
    "key": ["usable"],
    "event": ["digests", "head"],
    "picture": ["phash"],
    "tensor-core": ["result"],
    "small-weights": ["codes", "scales", "widened"],
    "trace": ["contents", "shades", "root", "proof"],
    "audit-steps": ["steps"],
    "top": ["token_ids", "logits", "rows", "root", "score", "places", "siblings"],
    "phash": ["go", "imagehash"],
}  # fmt: skip
"""For each kind the fields in which a change must be found, in any vector."""


def test_broken_vectors_are_named(capsys: pytest.CaptureFixture[str], copy: Path) -> None:
    """One of each kind at once, then those fields one by one that `test_every_vector_can_fail` leaves out."""
    assert set(COMPUTED) == set(FILES)
    first = {vector.kind: vector for vector in reversed(load_vectors(copy))}
    rest = [{kind: name} for kind in ("phash", "text-score") for name in COMPUTED[kind][1:]]
    for broken in ({kind: names[0] for kind, names in COMPUTED.items()}, *rest):
        originals = {copy / FILES[kind]: (copy / FILES[kind]).read_text("utf-8") for kind in broken}
        for kind, name in broken.items():

            def spoil(vectors: list[Any], name: str = name) -> None:
                vectors[0][name] = spoiled(vectors[0][name])

            change(copy / FILES[kind], spoil)
        code, out, err = call(capsys, "--verify", "--folder", str(copy))
        assert (code, err) == (1, ""), broken
        lines = [line for line in out.splitlines() if line.startswith("does not hold")]
        for vector in (first[kind] for kind in broken):
            (line,) = [line for line in lines if line.startswith(f"does not hold: {vector.id} ({vector.reason}): ")]
            lines.remove(line)
        assert not lines
        assert f"{len(broken)} of" in out.splitlines()[-1]
        code, out, _ = call(capsys, "--verify", "--folder", str(copy), "--json")
        failed = {(found["id"], found["reason"]) for found in json.loads(out)["failed"]}
        assert (code, failed) == (1, {(first[kind].id, first[kind].reason) for kind in broken})
        for file, text in originals.items():
            file.write_text(text, "utf-8")
    assert call(capsys, "--verify", "--folder", str(copy))[0] == 0


@pytest.mark.parametrize("vector", [found for found in SHIPPED if found.kind != "phash"], ids=lambda found: found.id)
def test_every_vector_can_fail(vector: Any) -> None:
    for name in COMPUTED[vector.kind]:
        value = vector.content[name]
        if (vector.kind, name) == ("text-score", "algorithm"):
            continue
        if (vector.id, name) == ("top/ties", "logits"):
            continue  # the last one is not among the eight largest, and not bound
        broken = type(vector)(vector.id, vector.reason, vector.flags, vector.content | {name: spoiled(value)}, None)
        assert check_vector(broken) is not None, name
        missing = {key: item for key, item in vector.content.items() if key != name}
        assert check_vector(type(vector)(vector.id, vector.reason, vector.flags, missing, None)) is not None, name


def test_an_event_that_was_edited_is_found(capsys: pytest.CaptureFixture[str], copy: Path) -> None:
    def edit(vectors: list[Any]) -> None:
        vectors[0]["events"][1]["payload"]["action"]["amount"] = "1"

    change(copy / "events.json", edit)
    code, out, _ = call(capsys, "--verify", "--folder", str(copy))
    assert code == 1
    assert "does not hold: event/membership" in out


def test_a_log_that_is_no_chain_is_found(capsys: pytest.CaptureFixture[str], copy: Path) -> None:
    """Every digest is right, but an event is left out."""

    def edit(vectors: list[Any]) -> None:
        del vectors[0]["events"][2], vectors[0]["digests"][2]

    change(copy / "events.json", edit)
    code, out, _ = call(capsys, "--verify", "--folder", str(copy))
    assert code == 1
    assert "does not hold: event/membership" in out
    assert "BrokenLogError" in out


def test_a_number_within_its_tolerance_holds(capsys: pytest.CaptureFixture[str], copy: Path) -> None:
    def edit(factor: float) -> Callable[[list[Any]], None]:
        def change_all(vectors: list[Any]) -> None:
            for vector in vectors:
                if vector["s"] != "infinity":
                    vector["s"] = repr(float(vector["s"]) * factor)

        return change_all

    change(copy / "stakes.json", edit(1 + 1e-13))
    assert call(capsys, "--verify", "--folder", str(copy))[0] == 0
    change(copy / "stakes.json", edit(1 + 1e-10))
    code, out, _ = call(capsys, "--verify", "--folder", str(copy))
    assert code == 1
    finite_and_not_zero = [v for v in SHIPPED if v.kind == "stake" and v.content["s"] not in ("infinity", "0.0")]
    assert out.count("does not hold: stake/") == len(finite_and_not_zero)


def test_what_depends_on_the_processor_is_not_counted(capsys: pytest.CaptureFixture[str], copy: Path) -> None:
    def edit(vectors: list[Any]) -> None:
        for vector in vectors:
            if vector["architecture_sensitive"]:
                vector["go"] = spoiled(vector["go"])

    change(copy / FILES["phash"], edit)
    code, out, _ = call(capsys, "--verify", "--folder", str(copy))
    assert code == 0
    assert "0 of 3 hold" in out
    assert out.count("does not hold (not counted): phash/") == 3
    code, out, _ = call(capsys, "--verify", "--folder", str(copy), "--json")
    found = json.loads(out)
    assert (code, found["holds"], found["failed"], len(found["failed_aside"])) == (0, True, [], 3)


def test_list_and_show(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(capsys, "--list")
    lines = out.splitlines()
    assert (code, len(lines)) == (0, len(SHIPPED))
    for line, vector in zip(lines, SHIPPED, strict=True):
        assert line.split()[0] == vector.id
        assert vector.reason in line
    assert sum("[architecture-sensitive]" in line for line in lines) == 3
    code, out, _ = call(capsys, "--list", "--json")
    assert [row["id"] for row in json.loads(out)] == [vector.id for vector in SHIPPED]
    for vector in (SHIPPED[0], SHIPPED[-1]):
        code, out, _ = call(capsys, "--show", vector.id)
        assert code == 0
        assert json.loads(out) == vector.content


def test_an_export_is_complete(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    code, out, err = call(capsys, "--export", str(folder))
    assert (code, out) == (0, "")
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert {"schema.json", *FILES.values()} <= names
    assert sum(name.startswith("phash/images/") for name in names) == 172
    assert str(len(names)) in err
    for name in names:
        shipped = files("crynux_validate").joinpath("vectors", *name.split("/"))
        assert (folder / name).read_bytes() == shipped.read_bytes()
    code, _, err = call(capsys, "--export", str(folder))
    assert code == 2
    assert "not empty" in err
    code, out, _ = call(capsys, "--export", str(tmp_path / "c"), "--json")
    assert json.loads(out) == {"folder": str(tmp_path / "c"), "files": len(names)}


def test_a_vectors_group_is_what_judge_reads(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "group.json"
    for vector in SHIPPED:
        if vector.kind == "verdict":
            file.write_text(json.dumps(vector.content["group"]), "utf-8")
            assert main(["judge", str(file), "--json"]) == 0
            assert json.loads(capsys.readouterr().out) == vector.content["verdict"], vector.id


@pytest.mark.parametrize(
    ("text", "word"),
    [
        (None, "cannot read"),
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]".encode("utf-16"), "byte order mark"),
        ("[]".encode("utf-16-le"), "zero bytes"),
        ("[]".encode("utf-8-sig"), "byte order mark"),
        ('["é"]'.encode("latin-1"), "not UTF-8"),
        ("[]", "holds no vectors"),
        ('{"schema": "crynux-validate/vectors/1", "vectors": []}', "crynux-validate/vectors/2"),
        ('{"schema": "crynux-validate/vectors/2", "vectors": {}}', "holds no vectors"),
        ('{"schema": "crynux-validate/vectors/2", "vectors": [1]}', "expected objects"),
        ('{"schema": "crynux-validate/vectors/2", "vectors": [{}]}', "id None"),
        ('{"schema": "crynux-validate/vectors/2", "vectors": [{"id": "pool/x", "reason": "", "flags": []}]}', "task/"),
        ('{"schema": "crynux-validate/vectors/2", "vectors": [{"id": "task/x", "flags": []}]}', "reason of task/x"),
        ('{"schema": "crynux-validate/vectors/2", "vectors": [{"id": "task/x", "reason": ""}]}', "flags of task/x"),
    ],
)
def test_files_that_hold_no_vectors(
    capsys: pytest.CaptureFixture[str], copy: Path, text: str | bytes | None, word: str
) -> None:
    (copy / "tasks.json").unlink()
    if text is not None:
        (copy / "tasks.json").write_bytes(text.encode("utf-8") if isinstance(text, str) else text)
    for what in (("--verify",), ("--list",), ("--show", "task/defaults")):
        code, out, err = call(capsys, *what, "--folder", str(copy))
        assert (code, out) == (2, "")
        assert word in err
        assert "Traceback" not in err


def test_ids_are_unique(copy: Path) -> None:
    change(copy / "tasks.json", lambda vectors: [*vectors, vectors[0]])
    with pytest.raises(InvalidInputError, match="two vectors have the id 'task/defaults'"):
        load_vectors(copy)


def test_bad_arguments(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, _, err = call(capsys, "--show", "task/nothing")
    assert code == 2
    assert "task/nothing" in err
    code, _, err = call(capsys, "--export", str(tmp_path / "x"), "--folder", str(tmp_path))
    assert code == 2
    assert not (tmp_path / "x").exists()
    (tmp_path / "file").write_text("")
    code, _, err = call(capsys, "--export", str(tmp_path / "file"))
    assert code == 2
    assert "cannot write" in err
    for arguments in ([], ["--verify", "--list"]):
        with pytest.raises(SystemExit) as caught:
            main(["vectors", *arguments])
        assert caught.value.code == 2


def test_it_needs_no_torch() -> None:
    program = (
        "import sys\n"
        "for name in ('torch', 'diffusers', 'transformers', 'accelerate'): sys.modules[name] = None\n"
        "from crynux_validate.cli import main\n"
        "sys.exit(main(['vectors', '--verify']))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "hold" in done.stdout.splitlines()[-1]
