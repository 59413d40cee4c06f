"""Environments and their digests, what to do about a difference, and what this machine is (protocol P1, P2)."""

import os
import platform
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from crynux_validate import GpuModel
from crynux_validate.errors import InvalidInputError, PipelineError
from crynux_validate.machines import Environment
from crynux_validate.machines.gpu import PLATFORMS


def local_gpu(device: str | None = None) -> GpuModel:
    """`crynux_validate.local_gpu`, which needs torch, found when a test asks."""
    import crynux_validate

    return crynux_validate.local_gpu(device)


def test_digests_follow_the_records() -> None:
    one = Environment({"torch": "2.13"}, {"tf32": False}, {"dtype": "float32"})
    same = Environment({"torch": "2.13"}, {"tf32": False}, {"dtype": "float32"})
    other = Environment({"torch": "2.14"}, {"tf32": False}, {"dtype": "float32"})
    assert one.kernel_digest == same.kernel_digest != other.kernel_digest
    assert one.numerics_digest == other.numerics_digest
    assert Environment({}, {}).kernel_digest != Environment({}, {}).numerics_digest
    assert Environment({}, {}).recipe_digest is None


def test_there_and_back() -> None:
    one = Environment({"torch": "2.13"}, {"threads": 1}, {"files": {"a": "b"}})
    assert Environment.from_dict(one.to_dict()) == one
    forged = one.to_dict() | {"kernel": {"torch": "9"}}
    with pytest.raises(InvalidInputError, match="kernel_digest"):
        Environment.from_dict(forged)
    with pytest.raises(InvalidInputError, match="kernel"):
        Environment.from_dict({"numerics": {}})


def test_compare_says_what_differs_and_what_to_do() -> None:
    one = Environment({"torch": {"version": "2.13.0", "git": "abc"}, "packages": {}}, {"tf32": False}, {"batch": 1})
    other = Environment({"torch": {"version": "2.14.0", "git": "abc"}, "packages": {"triton": "3"}}, {"tf32": True})
    assert one.compare(one) == ()
    torch, recipe = (
        "kernel.torch.version: '2.13.0' here, '2.14.0' there; install the same build of torch",
        "recipe.batch",
    )
    found = one.compare(other)
    assert torch in found
    assert any(line.startswith("kernel.packages.triton: nothing here, '3' there; install") for line in found)
    assert any(line.startswith("numerics.tf32: False here, True there") for line in found)
    assert any(line.startswith(f"{recipe}: 1 here, nothing there") for line in found)
    assert len([line for line in found if "git" in line]) == 0


def test_compare_finds_a_difference_where_a_digest_does() -> None:
    one = Environment({"a": {}}, {}, {})
    for other in (
        Environment({"a": None}, {}, {}),
        Environment({"a": {"b": 1}}, {}, {}),
        Environment({"a": {}}, {}, None),
    ):
        assert one.compare(other)
        assert other.compare(one)


def test_compare_tells_true_from_one_as_the_digest_does() -> None:
    assert Environment({"a": True}, {}).compare(Environment({"a": 1}, {}))
    assert Environment({"a": 1.0}, {}).compare(Environment({"a": 1}, {})) == ()
    assert Environment({"a": 1.0}, {}).kernel_digest == Environment({"a": 1}, {}).kernel_digest


KERNEL = {
    "device": "cuda",
    "system": "Linux",
    "machine": "x86_64",
    "processor": None,
    "accelerator": {
        "name": "NVIDIA GeForce RTX 4090",
        "capability": "8.9",
        "memory_gib": 24,
        "driver": "570.86.15",
        "driver_cuda": 12080,
    },
    "torch": {"version": "2.13.0", "cuda": "12.8", "build": "PyTorch built with:\n  - GCC 13.3\n" + 200 * "-O2 " + "A"},
    "packages": {"triton": "3.5.0"},
    "variables": {},
}
NUMERICS = {"cpu_threads": 1, "variables": {"CUBLAS_WORKSPACE_CONFIG": ":4096:8"}}


def changed(record: dict[str, Any], name: str, value: Any) -> dict[str, Any]:
    """A copy of a record with another value at a dotted name."""
    first, _, rest = name.partition(".")
    return {**record, first: changed(record[first], rest, value) if rest else value}


@pytest.mark.parametrize(
    ("name", "value", "advice"),
    [
        ("device", "cpu", "run on the same kind of device"),
        ("system", "Windows", "run under the same operating system"),
        ("machine", "aarch64", "another architecture: nothing aligns these"),
        ("accelerator.name", "NVIDIA GeForce RTX 4090 D", "another accelerator: nothing aligns these"),
        ("accelerator.memory_gib", 48, "another accelerator: nothing aligns these"),
        ("accelerator.driver", "580.65.06", "install the same driver"),
        ("accelerator.driver_cuda", 13000, "install the same driver"),
        ("accelerator.macos", "15.1", "install the same macOS"),
        ("torch.version", "2.14.0", "install the same build of torch"),
        ("torch.cuda", "13.0", "install the same build of torch"),
        ("packages.triton", "3.6.0", "install the same versions, or none on both"),
        ("packages.xformers", "0.0.33", "install the same versions, or none on both"),
        ("variables.MKL_CBWR", "COMPATIBLE", "set the same variables"),
        ("processor", {"capability": "AVX2"}, "set ATEN_CPU_CAPABILITY alike, where the processors are"),
        ("processor", {"name": "AMD EPYC"}, "another processor: nothing aligns these"),
    ],
)
def test_each_difference_of_kernels_has_its_advice(name: str, value: Any, advice: str) -> None:
    one, other = Environment(KERNEL, NUMERICS), Environment(changed(KERNEL, name, value), NUMERICS)
    for sentences in (one.compare(other), other.compare(one)):
        assert len(sentences) == 1
        assert sentences[0].startswith(f"kernel.{name}")
        assert sentences[0].endswith(f"; {advice}")
    assert one.kernel_digest != other.kernel_digest


def test_a_difference_of_switches_has_its_advice() -> None:
    one = Environment(KERNEL, NUMERICS)
    threads = Environment(KERNEL, changed(NUMERICS, "cpu_threads", 2))
    assert one.compare(threads) == (
        "numerics.cpu_threads: 1 here, 2 there; use the same version of crynux_validate and torch",
    )
    variable = Environment(KERNEL, changed(NUMERICS, "variables.CUBLAS_WORKSPACE_CONFIG", ":16:8"))
    assert one.compare(variable) == (
        "numerics.variables.CUBLAS_WORKSPACE_CONFIG: ':4096:8' here, ':16:8' there; "
        "use the same version of crynux_validate",
    )


def test_two_long_values_are_shown_where_they_differ() -> None:
    build = str(changed(KERNEL, "device", "")["torch"]["build"])
    other = Environment(changed(KERNEL, "torch.build", build[:-1] + "B"), NUMERICS)
    (sentence,) = Environment(KERNEL, NUMERICS).compare(other)
    assert "O2 A' here, " in sentence
    assert "O2 B' there; " in sentence
    assert len(sentence) < 160
    (longer,) = Environment({"a": "x" * 100}, {}).compare(Environment({"a": "x" * 200}, {}))
    assert longer.split(" here, ")[0] != longer.split(" here, ")[1]


def test_names_from_strangers_cannot_write_to_a_terminal() -> None:
    (sentence,) = Environment({}, {}).compare(Environment({"\x1b[2Jgone": 1}, {}))
    assert sentence.isprintable()


@pytest.mark.parametrize(
    "change", [{"kernel": []}, {"numerics": None}, {"recipe": 7}, {"kernel": "x" * 10_000}, {"kernel_digest": 5}]
)
def test_what_is_no_environment(change: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError, match=next(iter(change))) as caught:
        Environment.from_dict(Environment(KERNEL, NUMERICS).to_dict() | change)
    assert len(str(caught.value)) < 300


# What this machine is.


def smi(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Put a program that stands for the driver's nvidia-smi where programs are looked for."""
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


CARDS = """echo "GPU-1b2c, NVIDIA GeForce RTX 4090, 24564 MiB"; echo "GPU-3d4e, NVIDIA L4, 23034 MiB" """


@pytest.fixture
def without_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    if os.name != "posix" or torch.cuda.is_available():
        pytest.skip("needs a POSIX machine on which torch finds no CUDA")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


@pytest.mark.usefixtures("without_cuda")
def test_a_card_that_torch_cannot_use_is_found_through_the_driver(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    smi(tmp_path, monkeypatch, CARDS)
    for device, expected in (
        (None, ("NVIDIA GeForce RTX 4090", 24)),
        ("cuda", ("NVIDIA GeForce RTX 4090", 24)),
        ("cuda:1", ("NVIDIA L4", 23)),
    ):
        gpu = local_gpu(device)
        assert (gpu.name, gpu.memory_gib, gpu.count) == (*expected, 1)
    assert local_gpu("cpu").name not in {"NVIDIA GeForce RTX 4090", "NVIDIA L4"}
    with pytest.raises(PipelineError, match="cuda:2 is not there"):
        local_gpu("cuda:2")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert local_gpu() == local_gpu("cpu")


@pytest.mark.usefixtures("without_cuda")
@pytest.mark.parametrize(
    "script",
    [
        "exit 9",
        "echo 'NVIDIA-SMI has failed because it could not communicate with the NVIDIA driver.'",
        "printf '\\377\\n'",
        "echo 'GPU-1, NVIDIA GB10, [N/A]'",
        "exec sleep 60",
    ],
)
def test_a_driver_that_does_not_answer_is_no_driver(
    script: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from crynux_validate.pipelines.guard import probe

    monkeypatch.setattr(probe, "_SMI_SECONDS", 0.3)
    smi(tmp_path, monkeypatch, script)
    assert local_gpu() == local_gpu("cpu")
    with pytest.raises(PipelineError, match="not there"):
        local_gpu("cuda")


@pytest.mark.skipif(os.name != "posix", reason="the stand-in for nvidia-smi is a shell script")
@pytest.mark.parametrize(
    ("name", "uuid", "expected"),
    [
        # torch leaves out what the driver keeps: without nvidia-smi this card would have 140 GiB.
        ("NVIDIA H200", "5e1f", ("NVIDIA H200", 143_771 * 2**20)),
        ("NVIDIA H200", "0000", ("NVIDIA H200", 150_000_000_000)),
        ("NVIDIA H200 MIG 1g.18gb", "5e1f", ("NVIDIA H200 MIG 1g.18gb", 150_000_000_000)),
    ],
)
def test_the_memory_of_a_card_is_the_drivers(
    name: str, uuid: str, expected: tuple[str, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch = pytest.importorskip("torch")
    from crynux_validate.pipelines.guard import probe

    card = SimpleNamespace(name=name, total_memory=150_000_000_000, uuid=uuid)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: card)
    smi(tmp_path, monkeypatch, "echo 'GPU-77aa, NVIDIA L4, 23034 MiB'; echo 'GPU-5e1f, NVIDIA H200, 143771 MiB'")
    assert probe._cuda_card(torch.device("cuda", 0)) == expected


@pytest.mark.skipif(os.name != "posix", reason="the stand-in for nvidia-smi is a shell script")
@pytest.mark.parametrize(
    ("kernel_says", "script", "expected"),
    [
        ("NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.65.06  Release Build", "exit 9", "580.65.06"),
        ("NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.65.06  Release Build", "echo 566.36", "580.65.06"),
        # Under Windows and WSL the kernel does not tell it.
        (None, "case $1 in *driver_version*) echo 566.36; echo 566.36;; *) exit 9;; esac", "566.36"),
        (None, "exit 9", None),
        (None, "echo 'No devices were found'", None),
    ],
)
def test_the_driver_is_what_the_kernel_says_or_nvidia_smi(
    kernel_says: str | None, script: str, expected: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")
    from crynux_validate.pipelines.guard import probe

    version = tmp_path / "version"
    if kernel_says is not None:
        version.write_text(kernel_says)
    monkeypatch.setattr(probe, "_DRIVER", version)
    smi(tmp_path, monkeypatch, script)
    assert probe._driver() == expected


def test_cuda_is_the_current_device(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    from crynux_validate.pipelines.guard.probe import find_device

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    assert find_device("cuda") == torch.device("cuda", 1)
    assert find_device("cuda:0") == torch.device("cuda", 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(PipelineError, match="finds 0 CUDA devices"):
        find_device("cuda")


def test_without_a_card_it_is_the_processor_and_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    gpu = local_gpu("cpu")
    assert GpuModel.parse(str(gpu)) == gpu
    if Path("/proc/meminfo").is_file():
        kib = int(Path("/proc/meminfo").read_text().split()[1])
        assert gpu.memory_gib == -(-kib // 2**20)
    with pytest.raises(InvalidInputError, match="no device"):
        local_gpu("toaster")


def test_a_processors_name_is_made_printable(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    from crynux_validate.pipelines.guard import probe

    for name, expected in (
        ("  Intel\u00ae Core\u2122 i7\t@ 2.80GHz\0", "Intel Core i7 @ 2.80GHz"),
        ("x" * 300, "x" * 128),
        ("AMD Eng Sample: 100-000000163_32/18_N", "AMD Eng Sample 100-000000163_32/18_N"),
        ("\u9f8d\u82af", platform.machine()),
        ("", platform.machine()),
    ):
        monkeypatch.setattr(probe, "_processor_name", lambda name=name: name)
        assert local_gpu("cpu").name == expected


def test_the_platform_is_what_nodes_of_the_live_network_call_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")
    from crynux_validate.pipelines.guard import probe

    mark, group = tmp_path / "mark", tmp_path / "cgroup"
    monkeypatch.setattr(probe, "_DOCKER_MARK", mark)
    monkeypatch.setattr(probe, "_CGROUP", group)
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    system = platform.system()
    assert local_gpu("cpu").platform == (system if system in PLATFORMS else "")
    group.write_text("0::/user.slice\n")
    assert local_gpu("cpu").platform != "docker"
    group.write_text("12:cpu:/docker/4f5a\n")
    assert local_gpu("cpu").platform == "docker"
    group.unlink()
    mark.touch()
    assert local_gpu("cpu").platform == "docker"
    mark.unlink()
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    assert local_gpu("cpu").platform == "docker"
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST")
    monkeypatch.setattr(platform, "system", lambda: "FreeBSD")
    assert local_gpu("cpu").platform == ""
