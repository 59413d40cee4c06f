"""Set up before anything imports torch, and what is built once for a whole run of the tests."""

import contextlib
import importlib.util
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

from crynux_validate.errors import FakeHardwareError
from crynux_validate.pipelines.guard.process import prepare_process
from crynux_validate.tasks import ModelRef
from crynux_validate.testing import fake_hardware, tiny_image_model, tiny_text_model

# No test may depend on the network, and a missing file shall be an error at once.
os.environ["HF_HUB_OFFLINE"] = "1"
# Nor write into the user's cache.
os.environ["CRYNUX_VALIDATE_DIGEST_CACHE"] = "off"
prepare_process()

with contextlib.suppress(ModuleNotFoundError):  # what needs nothing but the base install is also run without it
    from hypothesis import settings

    settings.register_profile("no time limits", deadline=None)
    settings.load_profile("no time limits")


SHARED = frozenset({"fake_hardware_workers", "card_workers"})
"""The fixtures whose tests all run in one process."""

TOGETHER = "together"
"""How that process is called, and the file which names those tests."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Where several processes share the tests (``-n 2``), put first what needs other numeric kinds, and tell which.

    Loading the libraries of each kind takes longest.
    """
    if hasattr(config, "workerinput"):
        together = {item.nodeid for item in items if not SHARED.isdisjoint(getattr(item, "fixturenames", ()))}
        items.sort(key=lambda item: item.nodeid not in together)
        Path(config.workerinput[TOGETHER]).write_text("\n".join(sorted(together)), "utf-8")


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Name the file in which a process that shares the tests tells what must stay together."""
    node.workerinput[TOGETHER] = str(_kept_together(node.config))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Keep together what shares a fixture: all that needs other numeric kinds, and everything else with its file.

    Marks of groups do not do it: pytest-xdist 3.8 writes their names into ids, which pytest 9.2 does not read.
    """
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            if nodeid in self.together:
                return TOGETHER
            return nodeid.partition("::")[0]

        @cached_property
        def together(self) -> frozenset[str]:
            return frozenset(_kept_together(config).read_text("utf-8").splitlines())

    return Scheduling(config, log)


_FILE = pytest.StashKey[Path]()


def _kept_together(config: pytest.Config) -> Path:
    """A file of this run."""
    if _FILE not in config.stash:
        folder = tempfile.TemporaryDirectory()
        config.add_cleanup(folder.cleanup)
        config.stash[_FILE] = Path(folder.name) / TOGETHER
    return config.stash[_FILE]


@pytest.fixture(scope="session")
def image_model(tmp_path_factory: pytest.TempPathFactory) -> ModelRef:
    """The tiny Stable Diffusion pipeline of random weights, built once."""
    need("image", "torch", "diffusers", "transformers")
    return tiny_image_model(tmp_path_factory.mktemp("tiny") / "sd", random=True)


@pytest.fixture(scope="session")
def text_model(tmp_path_factory: pytest.TempPathFactory) -> ModelRef:
    """The tiny Llama of random weights, built once."""
    need("text", "torch", "transformers", "jinja2")
    return tiny_text_model(tmp_path_factory.mktemp("tiny") / "llama", random=True)


def need(extra: str, *packages: str) -> None:
    """Skip where the packages of an extra are not installed."""
    for package in packages:
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"needs the extra {extra!r}: {package} is not installed")


@pytest.fixture(scope="session")
def fake_hardware_workers() -> Iterator[fake_hardware.Workers]:
    """Workers by the name of their kind; each is started when a test first asks for it, and lives until the end."""
    try:
        workers = fake_hardware.Workers()
    except FakeHardwareError as error:
        pytest.skip(str(error))
    with workers:
        yield workers


@pytest.fixture(scope="session")
def card_workers() -> Iterator[fake_hardware.Workers]:
    """Workers that compute as cards do, by the name of their architecture, started in the same way."""
    need("text", "torch")
    with fake_hardware.Workers(fake_hardware.gpu_kinds()) as workers:
        yield workers


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of these sources, built once."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    root = Path(__file__).parents[1]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = folder.glob("*.whl")
    return path
