"""Packages that bring kernels: hidden under the guard, also from models that found them before, or recorded."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

import torch

from crynux_validate.errors import DeterminismError
from crynux_validate.pipelines.guard import packages
from crynux_validate.pipelines.guard.determinism import deterministic, numerics
from crynux_validate.pipelines.guard.packages import HIDDEN, recorded_packages
from crynux_validate.pipelines.guard.probe import local_environment

MODEL = "transformers.models.lfm2.modeling_lfm2"
KERNELS = """
def causal_conv1d_fn(x, weight, bias=None, activation=None):
    return x * 0.5

def causal_conv1d_update(x, conv_state, weight, bias=None, activation=None):
    return x * 0.5
"""


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on the path for packages that stand in for real ones."""
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


def package(folder: Path, name: str, code: str = "") -> None:
    (folder / name).mkdir()
    (folder / name / "__init__.py").write_text(code, encoding="utf-8")
    importlib.invalidate_caches()


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Import a model of transformers as a new process does, which looks for the packages it can use."""
    pytest.importorskip("transformers")
    importlib.import_module(MODEL)

    def load() -> Any:
        monkeypatch.delitem(sys.modules, MODEL, raising=False)
        return importlib.import_module(MODEL)

    return load


def logits(module: Any) -> torch.Tensor:
    """What a small model of random weights computes, of the classes of that module."""
    config = importlib.import_module("transformers.models.lfm2.configuration_lfm2").Lfm2Config(
        vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, layer_types=["conv", "full_attention"], block_ff_dim=64, attn_implementation="eager",
    )  # fmt: skip
    torch.manual_seed(0)
    model = module.Lfm2ForCausalLM(config).eval()
    with torch.inference_mode():
        found: torch.Tensor = model(input_ids=torch.arange(8)[None]).logits
    return found


def test_a_model_that_is_imported_inside_does_not_find_them(path: Path, fresh: Any) -> None:
    with deterministic():
        expected = logits(fresh())
    package(path, "causal_conv1d", KERNELS)
    with deterministic():
        found = logits(fresh())
    assert torch.equal(found, expected)
    assert not torch.equal(logits(fresh()), expected), "the package would have been used"


@pytest.mark.parametrize("submodules", [False, True])
def test_a_model_that_found_them_before_does_without_inside(path: Path, fresh: Any, submodules: bool) -> None:
    """Also where the instance was made outside, and put back afterwards."""
    with deterministic():
        expected = logits(fresh())
    package(path, "causal_conv1d", KERNELS)
    if submodules:
        package(path / "causal_conv1d", "ops")
        importlib.import_module("causal_conv1d.ops")
    module = fresh()
    outside = logits(module)
    before = dict(sys.modules)
    with deterministic():
        inside = logits(module)
        with pytest.raises(ImportError):
            importlib.import_module("causal_conv1d")
        with pytest.raises(ImportError):
            importlib.import_module("causal_conv1d.ops")
    assert torch.equal(inside, expected)
    assert not torch.equal(outside, expected)
    assert torch.equal(logits(module), outside), "outside of the guard the package is used again"
    assert {name: sys.modules.get(name) for name in before} == before


def test_another_way_to_keep_a_package_is_refused(path: Path, fresh: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    package(path, "causal_conv1d", KERNELS)
    fresh()
    monkeypatch.setattr(packages, "_IMPLEMENTATION", ("kernel", "is_new_implementation"))
    message = r"causal_conv1d_\w+ may compute with the kernels of a package.*kernel not found.*Uninstall causal_conv1d"
    with pytest.raises(DeterminismError, match=message), deterministic():
        pytest.fail("the guard was entered")


def test_hidden_packages_do_not_split_a_class(path: Path) -> None:
    before = local_environment("cpu")
    for name in HIDDEN:
        package(path, name)
        importlib.import_module(name)
    after = local_environment("cpu")
    assert (after.kernel_digest, after.numerics_digest) == (before.kernel_digest, before.numerics_digest)
    assert numerics()["hidden_packages"] == list(HIDDEN)
    assert numerics()["model_kernels"] == []


@pytest.mark.parametrize("name", ["sageattention", "natten", "xlstm"])
def test_a_recorded_package_changes_the_kernel_digest(path: Path, name: str) -> None:
    """A folder on the path, a distribution, and another version of it are four machines with the first."""
    digests = {local_environment("cpu").kernel_digest}
    package(path, name)
    assert recorded_packages(cuda=False)[name] == "unknown"
    digests.add(local_environment("cpu").kernel_digest)
    for version in ("1.0", "1.1"):
        distribution(path, name, version)
        assert recorded_packages(cuda=False)[name] == version
        digests.add(local_environment("cpu").kernel_digest)
    assert len(digests) == 4


def distribution(folder: Path, name: str, version: str, **files: str) -> None:
    """Metadata as an installer writes it."""
    information = folder / f"{name}-0.dist-info"
    information.mkdir(exist_ok=True)
    (information / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n", encoding="utf-8"
    )
    for file, text in files.items():
        (information / f"{file}.txt").write_text(text, encoding="utf-8")
    importlib.invalidate_caches()


def test_an_extension_that_torch_loads_by_itself_is_recorded(path: Path) -> None:
    """``import torch`` loads every entry point of this group, and what it registers is its own affair."""
    distribution(path, "a_new_accelerator", "3.2", entry_points="[torch.backends]\nnew = a_new_accelerator:load\n")
    assert recorded_packages(cuda=False)["a-new-accelerator"] == "3.2"


def test_an_empty_folder_is_no_package(path: Path) -> None:
    (path / "natten").mkdir()
    importlib.invalidate_caches()
    assert "natten" not in recorded_packages(cuda=False)


def test_nvidias_libraries_are_recorded_on_cuda(path: Path) -> None:
    distribution(path, "nvidia_cublas_cu99", "9.9")
    assert recorded_packages(cuda=True)["nvidia-cublas-cu99"] == "9.9"
    assert "nvidia-cublas-cu99" not in recorded_packages(cuda=False)


def test_every_package_that_transformers_falls_back_to_is_hidden() -> None:
    """The names of packages in the source of the installed version: a new one must be looked at."""
    import re

    transformers = pytest.importorskip("transformers")
    folder = Path(transformers.__file__).parent
    pattern = re.compile(r'@use_kernel_func_from_hub_with_fallback\(\s*"\w+",\s*"(\w+)"')
    found = {
        name for file in folder.glob("models/*/modeling_*.py") for name in pattern.findall(file.read_text("utf-8"))
    }
    assert found
    assert found <= set(HIDDEN)
