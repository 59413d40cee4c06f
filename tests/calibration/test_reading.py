"""Samples from tables and folders, and back."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import crynux_validate as cv
from crynux_validate.calibration import Sample, Samples, kind_of, read_samples, sample_of, write_samples
from crynux_validate.pipelines import results
from tests.calibration.synthetic import answers
from tests.fuzz.damage import damaged

PARQUET = pytest.mark.skipif(find_spec("pyarrow") is None, reason="Parquet needs pyarrow")

FORMATS = (".csv", ".jsonl", pytest.param(".parquet", marks=PARQUET))
MODEL = cv.ModelRef(digest="ab" * 32)
KEYS = ("kind", "task", "model", "role", "algorithm", "score", "margin", "degenerate", "pixels")


def rows_of(samples: Samples) -> list[tuple[Any, ...]]:
    """The rows of samples, as values that can be compared."""
    margins = [None if np.isnan(margin) else margin for margin in samples.margins]
    names = (samples.kinds, samples.tasks, samples.models, samples.roles, samples.pixels)
    return list(zip(*(column.list() for column in names), map(tuple, samples.hashes.tolist()), margins, strict=True))


def sample(**changes: Any) -> Sample:
    row = Sample("card", "task-1", "honest", "phash/1", bytes.fromhex("ed82926d6d93925a"), "model")
    return replace(row, **changes)


names = st.text(st.characters(exclude_categories=("C", "Z")) | st.just(" "), min_size=1, max_size=20)
roles = st.sampled_from(["honest", "unrelated", "cheat:half-steps", "cheat:x"])


@st.composite
def many(draw: st.DrawFn) -> Samples:
    size = 8 * draw(st.integers(1, 3))
    rows = []
    for number in range(draw(st.integers(1, 5))):
        margin = draw(st.none() | st.floats(0, 1e300))
        score = draw(st.binary(min_size=size, max_size=size))
        pixels = hashlib.sha256(score).digest() if draw(st.booleans()) else None
        rows.append(
            Sample(draw(names), f"{number} {draw(names)}", draw(roles), "phash-go/1", score, draw(names), margin,
                   pixels=pixels)
        )  # fmt: skip
    return Samples.of(rows)


@pytest.mark.parametrize("suffix", FORMATS)
@settings(deadline=None, max_examples=40)
@given(samples=many())
def test_a_table_that_was_written_is_read_again(
    suffix: str, samples: Samples, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("table") / f"table{suffix}"
    assert write_samples(samples, path) == path
    again = read_samples(path)
    assert (again.algorithm, rows_of(again)) == (samples.algorithm, rows_of(samples))


@pytest.mark.parametrize("suffix", FORMATS)
def test_three_formats_say_the_same(suffix: str, tmp_path: Path) -> None:
    samples = Samples.of([sample(margin=0.1), sample(kind="other", pixels="ab" * 32), sample(task="b", role="cheat:a")])
    first = write_samples(samples, tmp_path / "first.csv")
    assert rows_of(read_samples(write_samples(samples, tmp_path / f"second{suffix}"))) == rows_of(read_samples(first))


def test_paths_are_joined_in_their_order(tmp_path: Path) -> None:
    one = write_samples(Samples.of([sample()]), tmp_path / "one.csv")
    two = write_samples(Samples.of([sample(kind="other")]), tmp_path / "two.JSONL")
    assert rows_of(read_samples(one, str(two))) == rows_of(read_samples(one)) + rows_of(read_samples(two))
    assert rows_of(read_samples(one, one)) == rows_of(read_samples(one)), "an answer counts once"


def test_a_table_as_people_write_it(tmp_path: Path) -> None:
    path = tmp_path / "people.csv"
    path.write_bytes(
        b"\xef\xbb\xbfrole,score,kind,task,model,algorithm,degenerate\r\n"
        b'honest,0xED82926D6D93925A,"A, B",t,m,phash/1,FALSE\r\n\r\n'
        b"cheat:half-steps,p:ed82926d6d93925a,C,t,m,phash/1,\r\n"
    )
    found = read_samples(path)
    assert found.kinds.list() == ["A, B", "C"]
    assert found.hashes.tolist() == [[0xED82926D6D93925A]] * 2
    assert found.cheats == ("half-steps",)


HEADER = "kind,task,model,role,algorithm,score,margin,degenerate\n"
ROW = "card,task-1,model,honest,phash/1,ed82926d6d93925a,1.5,false\n"
LINE = json.dumps(dict(zip(KEYS, ("card", "task-1", "model", "honest", "phash/1", "ed82926d6d93925a"), strict=False)))


def line(**changes: Any) -> str:
    return json.dumps(json.loads(LINE) | changes) + "\n"


BAD_TABLES: dict[str, tuple[str, str | bytes, str]] = {
    "empty": (".csv", "", r"table\.csv is empty"),
    "no rows": (".csv", HEADER, r"table\.csv holds no answer"),
    "other separator": (".csv", HEADER.replace(",", ";"), r"line 1: no column is called 'kind;task"),
    "unknown column": (".csv", HEADER.replace("margin", "margins"), r"line 1: no column is called 'margins'"),
    "column twice": (".csv", "kind," + HEADER, r"line 1: the column kind is there twice"),
    "no role": (".csv", HEADER.replace("role,", ""), r"line 1: the column role is missing"),
    "too few values": (".csv", HEADER + ROW + "card,task-1\n", r"line 3 has 2 values; expected 8"),
    "too many values": (".csv", HEADER + ROW.replace("\n", ",1\n"), r"line 2 has 9 values"),
    "open quote": (".csv", HEADER + '"card,\n', r"line 2: unexpected end of data"),
    "nan": (".csv", HEADER + ROW.replace("1.5", "nan"), r"line 2: margin is nan"),
    "infinite": (".csv", HEADER + ROW.replace("1.5", "1e999"), r"line 2: margin is inf"),
    "negative margin": (".csv", HEADER + ROW.replace("1.5", "-1"), r"line 2: margin is -1"),
    "no number": (".csv", HEADER + ROW.replace("1.5", "much"), r"line 2: margin is 'much'; expected a number"),
    "no flag": (".csv", HEADER + ROW.replace("false", "maybe"), r"line 2: degenerate is 'maybe'"),
    "wrong flag": (".csv", HEADER + ROW.replace("false", "true"), r"line 2: degenerate is True, but the score"),
    "unknown role": (".csv", HEADER + ROW.replace("honest", "onest"), r"line 2: role is 'onest'; expected honest"),
    "cheat without a name": (".csv", HEADER + ROW.replace("honest", "cheat:"), r"line 2: role is 'cheat:'"),
    "unknown algorithm": (".csv", HEADER + ROW.replace("phash/1", "phash/9"), r"line 2: algorithm is 'phash/9'"),
    "text": (".csv", HEADER + ROW.replace("phash/1", "tokens/1"), r"line 2: algorithm is 'tokens/1'"),
    "no hash": (".csv", HEADER + ROW.replace("ed82926d6d93925a", "ed82"), r"line 2: score is .* expected 8 bytes"),
    "odd digits": (".csv", HEADER + ROW.replace("ed82926d6d93925a", "ed8"), r"line 2: score is 'ed8'"),
    "other hash": (".csv", HEADER + ROW.replace("ed82926d", "a:82926d"), r"line 2: score is .*another kind of hash"),
    "no kind": (".csv", HEADER + ROW.replace("card", ""), r"line 2: kind is ''"),
    "no task": (".csv", HEADER + ROW.replace("task-1", ""), r"line 2: task is ''"),
    "mixed algorithms": (
        ".csv", HEADER + ROW + ROW.replace("phash/1", "phash-go/1"),
        r"line 3 has 1 x phash-go/1, and .*table\.csv, line 2 has 1 x phash/1; calibrate each by itself",
    ),
    "other lengths": (
        ".csv", HEADER + ROW + ROW.replace("5a,1.5", "5aed82926d6d93925a,1.5"), r"line 3 has 2 x phash/1"
    ),
    "two answers": (
        ".csv", HEADER + ROW + "\n" + ROW.replace("ed82", "ed83"), r"line 4 and .*line 2: .*two different honest"
    ),
    "NUL": (".csv", HEADER + ROW.replace("card", "a\0b"), r"line 2: "),
    "another encoding": (".csv", (HEADER + ROW.replace("card", "K\xe4rt")).encode("latin-1"), "is not UTF-8"),
    "no JSON": (".jsonl", LINE + "\n{\n", r"line 2 is not JSON"),
    "NaN in JSON": (".jsonl", line(margin=1).replace(": 1}", ": NaN}"), r"line 1 contains NaN"),
    "a list": (".jsonl", "[1]\n", r"line 1 is \[1\]; expected an object"),
    "a long line": (".jsonl", LINE + "\n" + line(kind="x" * 70_000), r"line 2 has .* bytes; expected at most 65536"),
    "a number for a name": (".jsonl", line(kind=3), r"line 1: kind is 3; expected text"),
    "a null name": (".jsonl", line(kind=None), r"line 1: kind is None; expected text"),
    "a text for a margin": (".jsonl", line(margin="1"), r"line 1: margin is '1'"),
    "a number for a flag": (".jsonl", line(degenerate=0), r"line 1: degenerate is 0"),
    "another digest": (".jsonl", line(pixels="abc"), r"line 1: pixels is 'abc'"),
    "unknown key": (".jsonl", line(seconds=1), r"line 1: no column is called 'seconds'"),
    "another suffix": (".txt", ROW, r"table\.txt is no table; expected a file name that ends in \.csv"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_TABLES)
def test_bad_tables(case: str, tmp_path: Path) -> None:
    suffix, content, problem = BAD_TABLES[case]
    path = tmp_path / f"table{suffix}"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(cv.errors.InvalidInputError, match=problem) as caught:
        read_samples(path)
    assert str(path) in str(caught.value)


@PARQUET
def test_bad_parquet(tmp_path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    def table(**columns: Any) -> Path:
        row = {name: [value] for name, value in json.loads(LINE).items()} | columns
        parquet.write_table(pyarrow.table(row), tmp_path / "t.parquet")
        return tmp_path / "t.parquet"

    assert len(read_samples(table())) == 1
    (tmp_path / "no.parquet").write_text("PAR1")
    with pytest.raises(cv.errors.InvalidInputError, match=r"no\.parquet cannot be read as Parquet"):
        read_samples(tmp_path / "no.parquet")
    for columns, problem in (
        ({"margin": [float("nan")]}, "row 1: margin is nan"),
        ({"kind": [1]}, "row 1: kind is 1; expected text"),
        ({"kind": pyarrow.array([None], pyarrow.string())}, "row 1: kind is None; expected text"),
        ({"seconds": [1.0]}, "no column is called 'seconds'"),
    ):
        with pytest.raises(cv.errors.InvalidInputError, match=problem):
            read_samples(table(**columns))


@pytest.mark.parametrize("suffix", FORMATS)
def test_damaged_tables_give_samples_or_a_clear_error(suffix: str, tmp_path: Path) -> None:
    path = write_samples(Samples.of(answers(3, unrelated=2)), tmp_path / f"table{suffix}")
    seed = path.read_bytes()
    for number in range(100):
        path.write_bytes(damaged((seed,), number, structured=False))
        problem = str(path)
        try:
            read_samples(path)
        except cv.errors.InvalidInputError as error:
            problem = str(error)
        assert str(path) in problem
        assert len(problem) < 1_000


def test_what_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "nothing").mkdir()
    for paths, problem in (
        ((), "no path was given"),
        ((tmp_path / "no.csv",), r"no\.csv is not there"),
        ((tmp_path / "nothing",), "nothing holds no answer"),
        (("a\0b.csv",), "is not there"),
    ):
        with pytest.raises(cv.errors.InvalidInputError, match=problem):
            read_samples(*paths)
    with pytest.raises(cv.errors.InvalidInputError, match="a path is 3"):
        read_samples(3)  # type: ignore[arg-type]
    with pytest.raises(cv.errors.InvalidInputError, match="is no table"):
        write_samples(Samples.of([sample()]), tmp_path / "table.xlsx")
    with pytest.raises(cv.errors.InvalidInputError, match="cannot write"):
        write_samples(Samples.of([sample()]), tmp_path / "no folder" / "table.csv")


def environment(card: str = "RTX 4090", **numerics: Any) -> cv.machines.Environment:
    return cv.machines.Environment({"accelerator": {"name": card}, "device": "cuda"}, numerics)


Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a result as a run does; returns its folder."""

    def write(role: str, name: str, *, card: str = "RTX 4090", seed: int = 0, shade: int = 0, images: int = 1) -> Path:
        task = cv.ImageTask(model=MODEL, prompt="a star", seed=seed, width=64, height=64, images=images)
        pictures = [Image.linear_gradient("L").rotate(20 * shade + at).resize((64, 64)) for at in range(images)]
        score = cv.ImageScore.from_images(pictures)
        hashes = [cv.image_hash(picture) for picture in pictures]
        answer = {"hashes": [found.hex for found in hashes], "margins": [found.margin for found in hashes]}
        return results.save(tmp_path / "out" / role / name, task, score, environment(card), answer, {})

    return write


def test_folders(write: Write, tmp_path: Path) -> None:
    for role in ("honest", "unrelated", "cheat-half-steps"):
        for seed in (1, 2):
            write(role, f"task-{seed}", seed=seed, shade=seed)
    (tmp_path / "out" / "notes.txt").write_text("what else lies there")
    samples = read_samples(tmp_path / "out")
    assert samples.roles.list() == ["cheat:half-steps"] * 2 + ["honest"] * 2 + ["unrelated"] * 2
    assert samples.kinds.names == (kind_of(environment()),)
    assert samples.models.names == (f"sha256:{MODEL.digest}",)
    task = cv.ImageTask(model=MODEL, prompt="a star", seed=1, width=64, height=64)
    assert samples.tasks.list()[::2] == [task.digest] * 3
    answer = json.loads((tmp_path / "out" / "honest" / "task-1" / "answer.json").read_text())
    assert samples.margins[2] == answer["margins"][0]
    assert samples.pixels.list()[2] == answer["result_digest"]
    inner = read_samples(tmp_path / "out" / "honest", tmp_path / "out" / "unrelated" / "task-2")
    assert inner.roles.list() == ["honest", "honest", "unrelated"]
    table = write_samples(samples, tmp_path / "table.csv")
    assert rows_of(read_samples(table)) == rows_of(samples), "a folder is as good as its table"


def test_the_smallest_margin_of_a_task_counts(write: Write) -> None:
    folder = write("honest", "task", images=3)
    rewrite("answer.json", margins=[3.0, 1.0, 2.0])(folder)
    samples = read_samples(folder)
    assert (samples.images, samples.margins[0]) == (3, 1.0)


def test_a_folder_inside_itself_is_read_once(write: Write, tmp_path: Path) -> None:
    write("unrelated", "task")
    (tmp_path / "out" / "unrelated" / "again").symlink_to(tmp_path / "out", target_is_directory=True)
    assert len(read_samples(tmp_path / "out")) == 1


@pytest.mark.parametrize(
    ("link", "target"), [("cheat-b", "cheat-a"), ("unrelated", "cheat-a"), ("cheat-b/t", "cheat-a/t")]
)
def test_a_link_that_gives_another_role_is_refused(link: str, target: str, write: Write, tmp_path: Path) -> None:
    write("cheat-a", "t")
    path = tmp_path / "out" / link
    path.parent.mkdir(exist_ok=True)
    path.symlink_to(tmp_path / "out" / target, target_is_directory=True)
    with pytest.raises(cv.errors.InvalidInputError, match="are one folder, and their roles differ"):
        read_samples(tmp_path / "out")
    path.unlink()
    (tmp_path / "out" / "again").mkdir()
    (tmp_path / "out" / "again" / "cheat-a").symlink_to(tmp_path / "out" / "cheat-a", target_is_directory=True)
    assert len(read_samples(tmp_path / "out")) == 1


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_a_table_without_an_end(suffix: str, tmp_path: Path) -> None:
    for name, target in (("zero", "/dev/zero"), ("pipe", None)):
        path = tmp_path / f"{name}{suffix}"
        if target is None:
            os.mkfifo(path)
        else:
            path.symlink_to(target)
        with pytest.raises(cv.errors.InvalidInputError, match="is a device or a pipe"):
            read_samples(path)


@PARQUET
def test_dates_beyond_the_calendar(tmp_path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    for kind, value in ((pyarrow.date32(), 2**30), (pyarrow.duration("s"), 2**62)):
        columns = {name: [getattr(sample(), name)] for name in KEYS[:5]} | {"score": ["0f" * 8]}
        table = pyarrow.table(columns | {"margin": pyarrow.array([value], kind)})
        parquet.write_table(table, tmp_path / "table.parquet")
        with pytest.raises(cv.errors.InvalidInputError, match="cannot be read as Parquet"):
            read_samples(tmp_path / "table.parquet")


def test_a_line_that_no_row_has(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text(f"{','.join(KEYS)}\n{'x,' * 70_000}\n")
    with pytest.raises(cv.errors.InvalidInputError, match="line 2 has more than 65536 characters"):
        read_samples(path)


def test_a_result_in_the_folder_where_the_program_runs(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(write("cheat-x", "task"))
    assert read_samples(".").roles.names == ("cheat:x",)


def test_a_colon_where_a_file_system_takes_it(write: Write) -> None:
    try:
        folder = write("cheat:half-steps", "task")
    except cv.errors.PipelineError:
        pytest.skip("this file system takes none")
    assert read_samples(folder).roles.names == ("cheat:half-steps",)


def rewrite(name: str, **changes: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        found = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps(found | changes))

    return change


def report(folder: Path) -> None:
    results.save_report(folder, (folder / "task.json").read_bytes(), "ab", cv.ErrorReport("failed", "no memory"), "x")


def text(folder: Path) -> None:
    (folder / "answer.bin").write_bytes(cv.TextScore.from_tokens([[1]]).to_bytes())


BAD_RESULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "interrupted": (lambda folder: (folder / "answer.bin").unlink(), "the run was interrupted"),
    "a report": (report, r"answer\.bin is a report \('failed: no memory'\) and no score"),
    "text": (text, "answers a text task"),
    "cut off": (lambda folder: os.truncate(folder / "answer.bin", 20), r"answer\.bin: the answer ends"),
    "no task": (lambda folder: (folder / "task.json").unlink(), r"cannot read .*task\.json"),
    "a broken task": (lambda folder: (folder / "task.json").write_text("{"), r"task\.json: .*not JSON"),
    "another task": (rewrite("task.json", seed=9), r"answer\.json: task_digest is .* of two runs"),
    "another score": (rewrite("answer.json", score="ed82926d6d93925a"), r"answer\.json: score is .* of two runs"),
    "no margins": (rewrite("answer.json", margins=None), r"answer\.json: margins is None; expected one for each"),
    "too many margins": (rewrite("answer.json", margins=[1, 2]), r"answer\.json: margins is \[1, 2\]"),
    "text for a margin": (rewrite("answer.json", margins=["1"]), r"margin is '1'"),
    "a list": (lambda folder: (folder / "answer.json").write_text("[]"), r"answer\.json: margins is None"),
    "no environment": (lambda folder: (folder / "environment.json").unlink(), r"cannot read .*environment\.json"),
    "another environment": (rewrite("environment.json", kernel={}), r"environment\.json: the environment's kernel_d"),
}


@pytest.mark.parametrize("case", BAD_RESULTS)
def test_bad_results(case: str, write: Write, tmp_path: Path) -> None:
    change, problem = BAD_RESULTS[case]
    folder = write("honest", "task")
    write("honest", "whole", seed=5)
    change(folder)
    with pytest.raises(cv.errors.InvalidInputError, match=problem) as caught:
        read_samples(tmp_path / "out")
    assert str(folder) in str(caught.value)


def test_a_cheat_that_ran_another_task(write: Write) -> None:
    honest, cheat = write("honest", "task", seed=1), write("cheat-other-seed", "task", seed=2, shade=1)
    (cheat / "asked.json").write_bytes((honest / "task.json").read_bytes())
    samples = read_samples(honest, cheat)
    assert len(samples.tasks.names) == 1
    assert samples.roles.list() == ["honest", "cheat:other-seed"]
    other = cv.ImageTask(model=MODEL, prompt="a star", width=64, height=64, images=2)
    for content, problem in ((other.to_json(), "asks for other images or another hash"), ("{", "asked.json: ")):
        (cheat / "asked.json").write_text(content)
        with pytest.raises(cv.errors.InvalidInputError, match=problem):
            read_samples(honest, cheat)
    (honest / "asked.json").write_bytes((honest / "task.json").read_bytes())
    with pytest.raises(cv.errors.InvalidInputError, match=r"asked\.json is for cheats, and this result is honest"):
        read_samples(honest)


@pytest.mark.parametrize("role", ["Honest", "cheats", "cheat-", "machine-a", "cheat"])
def test_a_folder_that_is_no_role(role: str, write: Write, tmp_path: Path) -> None:
    folder = write(role, "task")
    with pytest.raises(
        cv.errors.InvalidInputError, match=f"lies in a folder called '{role}'; expected honest, unrelated or"
    ):
        read_samples(folder)


def test_a_name_that_no_cheat_has(write: Write) -> None:
    folder = write("cheat-Half Steps", "task")
    with pytest.raises(cv.errors.InvalidInputError, match="role is 'cheat:Half Steps'") as caught:
        read_samples(folder)
    assert str(folder) in str(caught.value)


def test_two_answers_of_one_kind(write: Write, tmp_path: Path) -> None:
    first, second = write("honest", "a", shade=1), write("honest", "b", shade=2)
    with pytest.raises(cv.errors.InvalidInputError, match="two different honest answers") as caught:
        read_samples(tmp_path / "out")
    assert str(first) in str(caught.value)
    assert str(second) in str(caught.value)
    shutil.rmtree(second)
    assert len(read_samples(tmp_path / "out")) == 1


def test_names_of_kinds() -> None:
    card = environment()
    assert kind_of(card).startswith("RTX 4090 ")
    assert kind_of(card) == kind_of(environment()) != kind_of(environment("RTX 3090"))
    assert kind_of(card) != kind_of(environment(tf32=True)), "another setting, other bits"
    recipe = {"versions": {"diffusers": "1"}, "scheduler": "DDIM"}
    known = kind_of(replace(card, recipe=recipe))
    assert known == kind_of(replace(card, recipe=recipe | {"scheduler": "Euler"})), "what the task says is no kind"
    assert known != kind_of(replace(card, recipe=recipe | {"versions": {"diffusers": "2"}}))
    processor = cv.machines.Environment(
        {"accelerator": None, "processor": {"name": "EPYC"}}, {"tensor_cores": {"architecture": "ada", "splits": 1}}
    )
    assert kind_of(processor).startswith("ada on EPYC ")
    assert kind_of(cv.machines.Environment({"device": "mps\x1b"}, {})).startswith("mps ")
    with pytest.raises(cv.errors.InvalidInputError, match="environment is None; expected an Environment"):
        kind_of(None)


class Answer:
    """An answer in memory."""

    task = cv.ImageTask(model=MODEL, prompt="a star")
    picture = Image.linear_gradient("L").rotate(30).convert("RGB")
    score = cv.ImageScore.from_images([picture])
    hashes = (cv.image_hash(picture),)


def test_answers_in_memory() -> None:
    found = sample_of(Answer(), "cheat:half-steps", kind="card")
    assert asdict(found) == {
        "kind": "card", "task": Answer.task.digest, "model": str(MODEL), "role": "cheat:half-steps",
        "algorithm": "phash/1", "score": Answer.score.hashes, "margin": Answer.hashes[0].margin, "degenerate": False,
        "pixels": Answer.score.result_digest,
    }  # fmt: skip
    asked = Answer.task.replace(seed=7)
    assert sample_of(Answer(), "cheat:other-seed", kind="card", asked=asked).task == asked.digest
    with pytest.raises(cv.errors.InvalidInputError, match="asked is 'x'; expected an ImageTask"):
        sample_of(Answer(), kind="card", asked="x")  # type: ignore[arg-type]
    with pytest.raises(cv.errors.InvalidInputError, match="or give kind, a name"):
        sample_of(Answer())
    with pytest.raises(cv.errors.InvalidInputError, match="answer is 3; expected an ImageResult"):
        sample_of(3)  # type: ignore[arg-type]
