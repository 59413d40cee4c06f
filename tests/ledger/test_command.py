"""``crynux-validate ledger``, as a user or a program calls it."""

import json
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("sqlalchemy", reason="needs the extra 'sql'")

from sqlalchemy import update

import crynux_validate as cv
from crynux_validate.cli import main
from crynux_validate.ledger.sql.tables import ACCOUNTS
from crynux_validate.machines.pairing import is_available
from crynux_validate.testing import ManualClock
from crynux_validate.testing.conformance.network import LEDGER_ID
from crynux_validate.testing.conformance.network import Network as NetworkAround
from tests.ledger import backends
from tests.ledger.conftest import using
from tests.ledger.helpers import CHEAT, HONEST, POLICY, TASK, Network


@pytest.fixture(scope="module", autouse=True, params=["sqlite"])
def backend(request: pytest.FixtureRequest) -> Iterator[backends.Backend]:
    yield from using(request.param, request)


@pytest.fixture
def network() -> Network:
    found = Network()
    found.attest()
    found.answered(HONEST, HONEST, CHEAT)
    found.ledger.leave(next(node.id for node in found.ledger.nodes() if node.stake))
    found.ledger.open_group(cv.ImageTask(model=cv.ModelRef("a/b", revision="0" * 40), prompt="x"), creator="app", fee=3)
    return found


def file_of(network: Network) -> str:
    return backends.current.url_of(network.ledger).removeprefix("sqlite:///")


def test_show(network: Network, capsys: pytest.CaptureFixture[str]) -> None:
    ledger = network.ledger
    assert main(["ledger", "show", file_of(network)]) == 0
    shown = capsys.readouterr().out
    assert f"ledger test: {len(ledger.events())} events, the last 1970-01-12" in shown
    assert ledger.head().digest in shown
    settled = ledger.group("group-1")
    for expected in ("VALIDATED", "OPEN", "1 classes of equal machines", "left", f"{settled.members[2]} INVALID"):
        assert expected in shown
    assert "do not add up" not in shown
    for node in ledger.nodes():
        assert node.id in shown
    assert main(["ledger", "show", "--json", "--groups", "1", backends.current.url_of(ledger)]) == 0
    value = json.loads(capsys.readouterr().out)
    assert [group["id"] for group in value["groups"]] == ["group-2"]
    assert (value["head"], value["events"]) == (ledger.head().digest, len(ledger.events()))
    assert value["accounts"]["app"] == str(ledger.account("app"))
    assert len(value["nodes"]) == 5
    states = {node["id"]: node["state"] for node in value["nodes"]}
    assert states[settled.members[2]] == "stake too low", "it was slashed: nobody can draw it"
    for node in ledger.nodes():
        assert (states[node.id] == "free") == is_available(node, ledger.policy.min_stake)
    assert "stake too low" in shown
    assert value["money"]["burnt"] == "1000"
    assert value["beacon"] == "local/1"
    assert (value["waiting"], value["most_waiting"]) == (["group-2"], 1)
    assert "beacon local/1" in shown
    assert "1 of at most 1 groups wait for their draw: group-2 first, by round" in shown
    (waits,) = value["groups"]
    assert (waits["closed"], waits["base"], waits["pool_weight"]) == (None, *[str(ledger.group("group-2").base)] * 2)
    assert "100% of the base" in shown


def test_show_who_leaves_and_why_groups_were_closed(capsys: pytest.CaptureFixture[str]) -> None:
    network = Network(7, replace(POLICY, min_pool_ppm=600_000))
    ledger, url = network.ledger, backends.current.url_of(network.ledger)
    for seed in range(2):
        network.opened(task=TASK.replace(seed=seed))
    ledger.leave("n0")
    network.clock.advance(1)
    ledger.draw("group-2")  # for which group-1 has left too little
    member = next(name for name in ledger.group("group-1").members if name != "n0")
    ledger.leave(member)
    with ledger.batch():
        for _ in range(2_000):  # so that the log is read in more than one step
            ledger.deposit("app", 1)
    assert main(["ledger", "show", url]) == 0
    shown = capsys.readouterr().out
    assert "no group waits for its draw; 2 can" in shown
    assert "small-pool" in shown
    assert main(["ledger", "show", "--json", url]) == 0
    value = json.loads(capsys.readouterr().out)
    assert [group["closed"] for group in value["groups"]] == ["small-pool", None]
    assert value["waiting"] == []
    states = {node["id"]: node["state"] for node in value["nodes"]}
    assert states[member] == "leaving, in group-1"
    assert states["n0"].startswith("leaving")


def test_verify(network: Network, capsys: pytest.CaptureFixture[str]) -> None:
    file, head = file_of(network), network.ledger.head().digest
    assert main(["ledger", "verify", file, "--head", head.upper()]) == 0
    assert f"head {head}" in capsys.readouterr().out
    assert main(["ledger", "verify", file, "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert (value["holds"], value["problem"], value["head"], len(value["checked"])) == (True, None, head, 3)
    assert main(["ledger", "verify", file, "--head", "00" * 32]) == 1
    assert "does not hold: the log ends with" in capsys.readouterr().out
    assert isinstance(network.ledger, cv.SqlLedger)
    with network.ledger._engine.begin() as connection:
        connection.execute(update(ACCOUNTS).where(ACCOUNTS.c.name == "app").values(balance="9"))
    assert main(["ledger", "verify", file, "--json"]) == 1
    value = json.loads(capsys.readouterr().out)
    assert value["problem"].startswith("account app is not what the log says: 9 is stored")
    assert len(value["checked"]) == 2
    assert main(["ledger", "show", file]) == 0
    assert "do not add up" in capsys.readouterr().out


class Elsewhere(cv.ledger.LocalBeacon):
    """A beacon that has another clock than the ledger, and that the command line cannot ask."""

    name = "elsewhere/1"
    on_ledger_clock = False  # type: ignore[misc]


def test_a_ledger_that_draws_by_a_beacon_elsewhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, clock = tmp_path / "ledger.db", ManualClock()
    policy, beacon = replace(POLICY, beacon_delay_seconds=10), Elsewhere(b"secret")
    with cv.SqlLedger(f"sqlite:///{file}", policy, ledger_id=LEDGER_ID, clock=clock, beacon=beacon) as ledger:
        network = NetworkAround(ledger, clock)
        network.opened()
        clock.advance(11)
        assert ledger.draw("group-1").status is cv.ledger.Status.DRAWN
        ledger.verify_records()  # with the beacon: its values are compared
    assert main(["ledger", "verify", str(file)]) == 0
    assert "not compared: the values that draws had from the beacon elsewhere/1" in capsys.readouterr().out
    assert main(["ledger", "verify", "--json", str(file)]) == 0
    assert json.loads(capsys.readouterr().out)["beacon_not_asked"] == "elsewhere/1"
    assert main(["ledger", "show", str(file)]) == 0
    assert "beacon elsewhere/1" in capsys.readouterr().out


def test_a_long_log_shows_how_far_it_is(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []
    monkeypatch.setattr("crynux_validate.cli.progress.show_progress", shown.append)
    monkeypatch.setattr("crynux_validate.cli.progress._EVERY", 0)
    with network.ledger.batch():
        for _ in range(100):
            network.ledger.deposit("app", 1)
    assert main(["ledger", "verify", file_of(network)]) == 0
    count = len(network.ledger.events())
    for what in ("reading the log", "doing every action again"):
        steps = [text for text in shown if text.startswith(what)]
        assert steps[0] == f"{what}  1 of {count:,} events"
        assert steps[-1].startswith(f"{what}  {count:,} of {count:,} events")


def test_bad_input(network: Network, capsys: pytest.CaptureFixture[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a b%3F?.db"
        assert main(["ledger", "show", str(path)]) == 2
        assert not path.exists(), "looking makes nothing"
        path.write_bytes(Path(file_of(network)).read_bytes())
        path.with_name(f"{path.name}-wal").write_bytes(Path(f"{file_of(network)}-wal").read_bytes())
        assert main(["ledger", "verify", str(path)]) == 0
    assert "there is no file" in capsys.readouterr().err
    assert main(["ledger", "verify", __file__]) == 2
    assert f"sqlite:///{__file__}: the file is no SQLite database" in capsys.readouterr().err
    assert main(["ledger", "verify", file_of(network), "--head", "00"]) == 2
    assert main(["ledger", "show", file_of(network), "--groups", "0"]) == 2
    assert "count is 0" in capsys.readouterr().err
