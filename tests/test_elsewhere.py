"""The kit for ledgers as somebody else has it: from the wheel, in a folder of its own."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
import zipfile
from pathlib import Path
from typing import Any

import pytest

from crynux_validate import MemoryLedger
from crynux_validate.errors import InvalidInputError
from crynux_validate.testing import LedgerConformance
from crynux_validate.testing.conformance.capabilities import CAPABILITIES, needs
from crynux_validate.testing.conformance.suite import STANDARD
from crynux_validate.testing.ledger_wrapper import ACTIONS
from tests.conftest import need
from tests.elsewhere import broken, broken_rules, chain
from tests.ledger.postgresql import fast_folder

ROOT = Path(__file__).parents[1]
CHAINS = ("TestChain", "TestSmallChain")
RIGHT = ("TestJsonl", *CHAINS)  # tests/ledger/test_conformance.py has the ledgers of the package
KILLED = "test_l7_what_was_acknowledged_survives_a_killed_process"
HIDING = {
    "TestSilent": ("test_c2_a_commitment_is_never_replaced", "test_c2_nobody_reveals_twice"),
    "TestDeclared": (
        "test_c2_a_commitment_is_never_replaced", "test_c2_nobody_reveals_twice", "test_c2_only_members_commit",
        "test_l1_a_refused_action_changes_nothing",
    ),
    "TestTakenAway": ("test_l6_settling_again_changes_nothing",),
    "TestUnfinished": ("test_l2_money_is_integers_of_the_smallest_unit", "test_l5_a_replay_gives_the_same_ledger"),
}  # fmt: skip

CHAIN_LACKS = (
    "batch", "evidence", "full_disk", "log", "manual_clock", "messages", "processes", "replay", "restart", "signatures",
    "text",
)  # fmt: skip

CAUGHT_BY = {**broken.CAUGHT_BY, **broken_rules.CAUGHT_BY}

Ends = dict[tuple[str, str], tuple[str, str]]


def place_of(case: ElementTree.Element) -> tuple[str, str]:
    """The class and the name of a test."""
    return case.get("classname", "").rpartition(".")[2], case.get("name", "")


@pytest.fixture(scope="module")
def cases(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> list[ElementTree.Element]:
    """What pytest reports of each test where there is nothing but the wheel."""
    need("sql", "sqlalchemy")
    folder = tmp_path_factory.mktemp("elsewhere")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "installed")
    for source, name in (
        ("tests/elsewhere/suites.py", "test_suites.py"),
        ("tests/elsewhere/broken.py", "broken.py"),
        ("tests/elsewhere/broken_rules.py", "broken_rules.py"),
        ("tests/elsewhere/chain.py", "chain.py"),
        ("examples/jsonl_ledger.py", "jsonl_ledger.py"),
    ):
        shutil.copy(ROOT / source, folder / name)
    caught = {f"Test{kind.__name__}": (test,) for kind, test in CAUGHT_BY.items()}
    caught |= {f"TestChain{kind.__name__}": (test,) for kind, test in chain.CAUGHT_BY.items()}
    chosen = [f"test_suites.py::{name}" for name in RIGHT]
    chosen += [f"test_suites.py::TestSqlite::{KILLED}"]
    chosen += [f"test_suites.py::{name}::{test}" for name, tests in (caught | HIDING).items() for test in tests]
    command = [sys.executable, "-m", "pytest", "-q", "--tb=short", "-p", "no:cacheprovider", "--junitxml=ends.xml"]
    command += ["-o", "junit_family=xunit1"]  # with properties
    with tempfile.TemporaryDirectory(dir=fast_folder()) as ledgers:
        environment = {**os.environ, "PYTHONPATH": str(folder / "installed"), "TMPDIR": ledgers}
        done = subprocess.run(
            [*command, *chosen], cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
    assert done.returncode == 1, done.stdout[:3000] + done.stderr
    assert str(ROOT) not in done.stdout, "the kit was imported from the sources"
    return list(ElementTree.parse(folder / "ends.xml").iter("testcase"))


@pytest.fixture(scope="module")
def ends(cases: list[ElementTree.Element]) -> Ends:
    """How each test ended: by class and name, passed or not and what it says."""
    found: Ends = {}
    for case in cases:
        end = next((part for part in case if part.tag != "properties"), None)
        said = "" if end is None else f"{end.get('message')} {end.text}"
        found[place_of(case)] = ("passed" if end is None else end.tag, said)
    return found


@pytest.mark.parametrize("name", RIGHT)
def test_a_ledger_that_is_right_passes_all_of_it(name: str, ends: Ends) -> None:
    mine = {test: end for (suite, test), end in ends.items() if suite == name}
    assert {test.partition("[")[0] for test in mine} == set(STANDARD)
    assert not {test: said for test, (end, said) in mine.items() if end in ("failure", "error")}
    lacks = {
        "TestJsonl": ("replay",),
        "TestChain": CHAIN_LACKS, "TestSmallChain": (*CHAIN_LACKS, "beacon", "draw_ahead"),
    }[name]  # fmt: skip
    skipped = [said for end, said in mine.values() if end == "skipped"]
    reasons = tuple(f"{name} lacks {capability}: " for capability in lacks)
    assert all(any(reason in said for reason in (*reasons, f"{name} has no test_")) for said in skipped)
    assert bool(skipped) == bool(lacks)


@pytest.mark.parametrize("kind", CAUGHT_BY, ids=lambda kind: str(kind.__name__))
def test_a_ledger_that_is_wrong_is_caught_by_a_test_that_says_so(kind: type[broken.Broken], ends: Ends) -> None:
    end, said = ends[f"Test{kind.__name__}", CAUGHT_BY[kind]]
    assert end == "failure"
    assert said.startswith(("AssertionError", "assert ", "Failed: ")), "it was stumbled over, not caught"


@pytest.mark.parametrize("kind", chain.CAUGHT_BY, ids=lambda kind: str(kind.__name__))
def test_a_chain_that_is_wrong_is_caught_without_a_log_or_a_clock(kind: type[MemoryLedger], ends: Ends) -> None:
    end, said = ends[f"TestChain{kind.__name__}", chain.CAUGHT_BY[kind]]
    assert end == "failure"
    assert said.startswith(("AssertionError", "assert ", "Failed: ")), "it was stumbled over, not caught"


def test_a_ledger_in_a_file_is_killed_and_opened_again(ends: Ends) -> None:
    assert ends["TestSqlite", KILLED] == ("passed", "")


def test_a_standard_test_that_is_hidden_is_named(ends: Ends) -> None:
    for test in HIDING["TestSilent"]:
        end, said = ends["TestSilent", test]
        assert end == "failure"
        assert f"TestSilent overrides or deletes the standard test {test} in silence" in said
    end, said = ends["TestTakenAway", "test_l6_settling_again_changes_nothing"]
    assert end == "error"
    assert "TestTakenAway.test_c2_only_members_commit is a standard test, and was changed or deleted" in said


def test_what_is_declared_is_accepted_and_shown(ends: Ends) -> None:
    overridden, left_out, passes, fails = (ends["TestDeclared", test] for test in HIDING["TestDeclared"])
    assert overridden[0] == "passed"
    assert left_out[0] == "skipped"
    assert "this ledger forgets reveals" in left_out[1]
    assert passes[0] == "failure", "what is expected to fail and passes is a failure"
    assert "done meanwhile" in passes[1]
    assert fails[0] == "skipped"
    assert "not done yet" in fails[1]


def test_what_a_ledger_lacks_is_skipped_where_a_test_needs_it(ends: Ends) -> None:
    for test in (
        "test_l6_a_clock_that_cannot_be_right_changes_nothing",
        "test_p4_nobody_is_drawn_before_the_value_is_public",
    ):
        end, said = ends["TestChain", test]
        assert end == "skipped"
        assert "TestChain lacks manual_clock: its time is that of its blocks" in said
    assert "TestChain lacks text: it takes image tasks" in ends["TestChain", "test_p2_another_card_is_another_class"][1]


@pytest.mark.parametrize("name", CHAINS)
def test_a_ledger_that_is_a_chain_runs_most_of_it(name: str, ends: Ends, cases: list[ElementTree.Element]) -> None:
    passed = {test for (suite, test), (end, _) in ends.items() if (suite, end) == (name, "passed")}
    assert len(passed) >= 80
    assert passed > {
        "test_c3_withholding_costs_stake",
        "test_l4_a_slash_is_burnt",
        "test_c2_a_commitment_is_never_replaced",
    }
    did: set[str] = set()
    for case in cases:
        if place_of(case)[0] == name and place_of(case)[1] in passed:
            did.update(*(found.get("value", "").split() for found in case.iter("property")))
    assert did & ACTIONS == ACTIONS - {"attest_commit", "attest_reveal"}


def test_what_is_not_given_is_asked_for(ends: Ends) -> None:
    money, replay = (ends["TestUnfinished", test] for test in HIDING["TestUnfinished"])
    assert "TestUnfinished has no make_ledger" in money[1]
    assert "TestUnfinished has no make_ledger" in replay[1]


def test_a_ledger_that_is_not_returned_is_named(tmp_path: Path) -> None:
    class Silent(LedgerConformance):
        def make_ledger(self, *_: object) -> Any:
            """Forget to return the ledger."""

    with pytest.raises(TypeError, match=r"Silent\.make_ledger returned None; expected a ledger"):
        Silent().new_ledger(folder=tmp_path)


@pytest.mark.parametrize(
    ("body", "match"),
    [
        ({"lacks": {"restrat": "a slip"}}, "'restrat', which is no capability; there are batch, beacon, "),
        ({"lacks": {"restart"}}, "expected a mapping from names to the reason"),
        ({"lacks": {"restart": " "}}, "expected a mapping from names to the reason"),
        ({"overridden": {"test_nothing": "why"}}, "'test_nothing', which is no standard test"),
        ({"xfails": {"test_nothing": "why"}}, "'test_nothing', which is no standard test"),
        ({"overridden": {"test_c2_only_members_commit": "why"}}, "which TestMine does not override"),
    ],
)
def test_what_is_declared_has_to_be_so(body: dict[str, object], match: str) -> None:
    with pytest.raises(InvalidInputError, match=match):
        type("TestMine", (LedgerConformance,), body)


def test_the_documentation_lists_every_capability() -> None:
    text = (ROOT / "docs" / "tutorials" / "write-a-ledger.md").read_text("utf-8")
    assert re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE) == list(CAPABILITIES)


def test_a_standard_test_needs_what_there_is() -> None:
    with pytest.raises(InvalidInputError, match="'luck', which is no capability"):
        needs("luck")


def test_every_standard_test_says_what_it_checks() -> None:
    unnamed = {name for name in STANDARD if name.removeprefix("test_")[:1] not in "cjlpt" or not name[6].isdigit()}
    assert unnamed == {
        "test_a_batch_holds_no_other",
        "test_a_node_id_belongs_to_its_first_owner",
        "test_every_refusal_is_a_ledger_error_or_an_input_error",
        "test_opening_is_refused_where_the_creator_or_the_task_does_not_do",
        "test_the_ledger_does_what_the_model_does",
    }
    rules = {name.split("_")[1] for name in STANDARD} - {"a", "every", "opening", "the"}
    assert rules == {
        "c1", "c2", "c3", "c4", "c5", "j2", "j3", "j4", "j5", "j6", "j7", "l1", "l2", "l3", "l4", "l5", "l6", "l7",
        "l8", "l9", "p1", "p2", "p3", "p4", "p4a", "p4b", "p4c", "p4d", "p4e", "p5", "p6", "p7", "t3",
    }  # fmt: skip


@pytest.mark.parametrize("package", ["pytest", "hypothesis"])
def test_without_its_packages_the_kit_says_what_to_install(package: str, tmp_path: Path) -> None:
    code = f"""
import sys
sys.modules[{package!r}] = None
import crynux_validate.testing as testing
testing.ManualClock
try:
    testing.LedgerConformance
except ImportError as error:
    assert type(error).__name__ == "MissingExtraError", repr(error)
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert f"needs the package {package!r}, which is not installed: pip install 'crynux-validate[test]'" in done.stdout
