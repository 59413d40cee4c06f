"""The guard: every switch is set, read back and restored; variables that come too late are refused."""

import json
import os
import random
import subprocess
import sys
import threading
import warnings
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from crynux_validate.errors import DeterminismError, PipelineError
from crynux_validate.pipelines.guard import determinism, process
from crynux_validate.pipelines.guard import switches as guard_table
from crynux_validate.pipelines.guard.determinism import Switch, deterministic, numerics, switches
from crynux_validate.pipelines.guard.precision import _PLACES

core = torch._C


def effective() -> list[object]:
    """What every precision switch of both generations says, without the guard's own way of reading."""
    found: list[object] = [core._get_fp32_precision_getter(backend, op) for backend, op in _PLACES]
    for old in (core._get_cudnn_allow_tf32, core._get_cublas_allow_tf32, core._get_float32_matmul_precision):
        try:
            found.append(old())
        except RuntimeError:
            found.append("raises")
    return found


def state() -> dict[str, object]:
    return {switch.name: switch.read() for switch in switches()} | {"effective": effective()}


OTHER = {
    "deterministic_algorithms": 1,
    "fill_uninitialized_memory": False,
    "cpu_threads": 2,
    "flush_denormal": True,
    "default_device": ("meta", "meta"),
    "default_dtype": torch.float64,
    "autocast.cpu": True,
    "autocast.cuda": True,
    "autocast.mps": True,
    "cudnn.enabled": False,
    "cudnn.benchmark": True,
    "cudnn.deterministic": False,
    "mkldnn.enabled": False,
    "mkldnn.deterministic": False,
    "nnpack.enabled": False,
    "cublas.fp16_reduction": (True, True),
    "cublas.bf16_reduction": (True, True),
    "cublas.fp16_accumulation": True,
    "sdpa.math": False,
    "sdpa.flash": False,
    "sdpa.mem_efficient": True,
    "sdpa.cudnn": True,
    "sdpa.overrideable": True,
    "sdpa.math_reduction": True,
    "sdpa.order": [0, 3, 2, 1, 4],
    "sdpa.rocm_library": core._ROCmFABackend.AOTriton,
    "miopen.immediate": True,
    "sm_carveout": 8,
    "transformer_fastpath": True,
    "native_overrides": ["native"],
    "compiler": torch._dynamo.eval_frame.DynamoStance("eager_on_recompile"),
    "float32_precision": {
        "generic.all": "none", "cuda.all": "ieee", "cuda.conv": "tf32", "cuda.rnn": "none", "cuda.matmul": "tf32",
        "mkldnn.all": "bf16", "mkldnn.conv": "none", "mkldnn.rnn": "ieee", "mkldnn.matmul": "bf16",
        "cudnn_allow_tf32": True, "matmul_precision": "medium",
    },
}  # fmt: skip
"""A setting for each switch that is not the guard's (those left out have only one on a machine without CUDA)."""


@pytest.fixture
def other_settings() -> Any:
    """Run the test under settings that are as far from the guard's as possible."""
    table = {switch.name: switch for switch in switches()}
    before = {name: table[name].read() for name in OTHER}
    for name, value in OTHER.items():
        table[name].set(value)
    yield
    for name, value in before.items():
        table[name].set(value)


def test_every_switch_is_set_inside_and_restored_after(other_settings: None) -> None:
    before = state()
    for switch in switches():
        if switch.name in OTHER:
            assert switch.read() == OTHER[switch.name] != switch.wanted, switch.name
    with deterministic():
        for switch in switches():
            assert switch.read() == switch.wanted, switch.name
        assert torch.get_num_threads() == 1
        assert torch.are_deterministic_algorithms_enabled()
        assert torch.backends.cudnn.allow_tf32 is False
        assert torch.backends.cuda.matmul.allow_tf32 is False
        assert torch.get_float32_matmul_precision() == "highest"
        assert core._get_fp32_precision_getter("mkldnn", "conv") == "ieee"
    assert state() == before


def divide_by_nothing() -> None:
    torch.set_num_threads(2)
    1 / 0  # noqa: B018


def test_everything_is_restored_after_an_exception(other_settings: None) -> None:
    before = state()
    with pytest.raises(ZeroDivisionError), deterministic():
        divide_by_nothing()
    assert state() == before


def broken(name: str = "broken", **settings: Any) -> Switch:
    return Switch(**{"name": name, "get": lambda: 0, "set": lambda _: None, "wanted": 0, **settings})


@pytest.mark.parametrize("position", [0, 7, -1])
def test_everything_is_restored_when_a_switch_cannot_be_set(
    monkeypatch: pytest.MonkeyPatch, other_settings: None, position: Any
) -> None:
    def refuse(value: Any) -> None:
        if value == 0:
            raise RuntimeError("no such thing")

    before, table = state(), list(switches())
    table.insert(position % (len(table) + 1), broken(get=lambda: 5, set=refuse))
    monkeypatch.setattr(determinism, "switches", lambda: tuple(table))
    with pytest.raises(DeterminismError, match="broken cannot be set to 0: no such thing"), deterministic():
        pytest.fail("the guard was entered")
    assert state() == before


def test_a_switch_that_does_not_hold_is_found_on_entry(monkeypatch: pytest.MonkeyPatch, other_settings: None) -> None:
    before, table = state(), (*switches(), broken("stuck", get=lambda: 1))
    monkeypatch.setattr(determinism, "switches", lambda: table)
    with pytest.raises(DeterminismError, match="stuck is 1 although the guard set it, not 0"), deterministic():
        pytest.fail("the guard was entered")
    assert state() == before


def test_a_switch_that_is_changed_meanwhile_is_found_at_the_end() -> None:
    before = state()
    with pytest.raises(DeterminismError, match=r"cudnn\.benchmark is True at the end"), deterministic():
        torch.backends.cudnn.benchmark = True
    assert state() == before


def test_a_default_device_that_other_code_holds_is_refused() -> None:
    message = "default_device is 'meta' although the guard set it"
    with torch.device("meta"):
        with pytest.raises(DeterminismError, match=message), deterministic():
            pytest.fail("the guard was entered")
        assert str(torch.get_default_device()) == "meta"
    assert str(torch.get_default_device()) == "cpu"


def test_one_switch_that_cannot_be_restored_does_not_keep_the_others(
    monkeypatch: pytest.MonkeyPatch, other_settings: None
) -> None:
    def refuse(value: Any) -> None:
        if value == 5:
            raise RuntimeError("gone")

    values = iter([5])
    before, table = state(), list(switches())
    table.insert(3, broken(get=lambda: next(values, 0), set=refuse))
    monkeypatch.setattr(determinism, "switches", lambda: tuple(table))
    with pytest.raises(DeterminismError, match="broken could not be put back to 5: gone"), deterministic():
        pass
    monkeypatch.undo()
    assert state() == before


def test_the_guard_can_be_entered_inside_itself() -> None:
    before = state()
    with deterministic():
        with deterministic():
            pass
        assert all(switch.read() == switch.wanted for switch in switches())
    assert state() == before


def test_other_threads_wait() -> None:
    inside, order = threading.Event(), []

    def other() -> None:
        inside.wait()
        with deterministic():
            order.append("second")

    thread = threading.Thread(target=other, daemon=True)
    thread.start()
    with deterministic():
        inside.set()
        thread.join(0.2)
        order.append("first")
    thread.join(60)
    assert order == ["first", "second"]


def test_any_combination_of_precision_switches_is_restored() -> None:
    """Both generations, in any order, also where they contradict each other."""
    first = switches()[0].read()

    def after(seed: int, *, guarded: bool) -> list[list[object]]:
        """What is in effect after random changes, and after more that show what is inherited."""
        switches()[0].set(first)
        rng = random.Random(seed)
        for _ in range(rng.randint(1, 10)):
            change_precision(rng)
        if guarded:
            with deterministic():
                pass
        seen = [effective()]
        for backend, precision in [("generic", "tf32"), ("generic", "ieee"), ("cuda", "tf32"), ("mkldnn", "bf16")]:
            core._set_fp32_precision_setter(backend, "all", precision)
            seen.append(effective())
        return seen

    try:
        for seed in range(150):
            assert after(seed, guarded=True) == after(seed, guarded=False)
    finally:
        switches()[0].set(first)


def change_precision(rng: random.Random) -> None:
    kind = rng.randrange(6)
    if kind == 0:
        core._set_cudnn_allow_tf32(rng.random() < 0.5)
    elif kind == 1:
        core._set_float32_matmul_precision(rng.choice(["highest", "high", "medium"]))
    elif kind == 2:
        core._set_cublas_allow_tf32(rng.random() < 0.5)
    else:
        backend, op = rng.choice(_PLACES)
        choices = ["none", "ieee", "tf32"] + ["bf16"] * (backend != "cuda")
        core._set_fp32_precision_setter(backend, op, rng.choice(choices))


def test_replaced_operations_of_torch_are_off_inside() -> None:
    """torch swaps in Triton kernels at its import where Triton is installed; here one is registered by hand."""
    from torch._native import registry

    def impl(x: Any, y: Any) -> Any:
        return torch.full_like(x, 42.0)

    registry.register_op_override("triton", "aten", "maximum", "CPU", lambda *_: True, impl)
    # As torch does at its import; registering anew warns.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        registry._register_all_overrides()
    try:
        a, b = torch.zeros(1), torch.ones(1)
        assert torch.maximum(a, b).item() == 42
        with deterministic():
            assert torch.maximum(a, b).item() == 1
        assert torch.maximum(a, b).item() == 42
    finally:
        registry.deregister_op_overrides(disable_dsl_names="triton")
        registry._graphs.pop(("maximum", "CPU"))
        registry._filter_state._dsl_names.discard("triton")
    assert torch.maximum(a, b).item() == 1


def test_an_activated_flash_attention_is_off_inside() -> None:
    """torch overrides its own operation with what another package registers."""
    from torch.nn.attention import _registry

    untyped: Any = torch.library
    calls: list[torch.Tensor] = []

    def own(x: torch.Tensor) -> torch.Tensor:
        calls.append(x)
        return x.clone()

    def register() -> Any:
        made: Any = untyped.Library("aten", "IMPL")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made.impl("sinc", own, "CPU")
        return SimpleNamespace(remove=made._destroy)

    _registry.register_flash_attention_impl("a test's", register_fn=register)
    _registry.activate_flash_attention_impl("a test's")
    try:
        with deterministic():
            assert _registry.current_flash_attention_impl() is None
            torch.sinc(torch.ones(1))
        assert calls == []
        assert _registry.current_flash_attention_impl() == "a test's"
        torch.sinc(torch.ones(1))
        assert len(calls) == 1
    finally:
        _registry.restore_flash_attention_impl()
        del _registry._FLASH_ATTENTION_IMPLS["a test's"]


def test_hooks_of_every_module_are_off_inside() -> None:
    modules: Any = torch.nn.modules.module
    handles = [
        modules.register_module_forward_pre_hook(lambda _, inputs: (inputs[0] + 1,)),
        modules.register_module_forward_hook(lambda _module, _inputs, output: output + 1),
        modules.register_module_forward_hook(lambda _module, _inputs, _settings, output: output + 1, with_kwargs=True),
        modules.register_module_parameter_registration_hook(lambda _module, _name, parameter: parameter * 2),
    ]
    try:
        with deterministic():
            layer = torch.nn.PReLU()
            assert layer(torch.ones(1)).item() == 1
            assert layer.weight.item() == 0.25
        assert layer(torch.ones(1)).item() == 4
    finally:
        for handle in handles:
            handle.remove()
        modules._global_forward_hooks_with_kwargs.clear()  # torch forgets to, and warns of hooks from then on
    assert layer(torch.ones(1)).item() == 1


def test_classes_that_transformers_would_replace_are_not_inside() -> None:
    patching = pytest.importorskip("transformers.monkey_patching")
    patching.register_patch_mapping({"LlamaMLP": torch.nn.Identity})
    try:
        with deterministic():
            assert patching.get_patch_mapping() == {}
        assert patching.get_patch_mapping() == {"LlamaMLP": torch.nn.Identity}
    finally:
        patching.clear_patch_mapping()


def test_the_attention_backend_of_diffusers_is_native_inside() -> None:
    dispatch = pytest.importorskip("diffusers.models.attention_dispatch")
    registry = dispatch._AttentionBackendRegistry
    before = registry._active_backend
    registry.set_active_backend(dispatch.AttentionBackendName._NATIVE_MATH)
    try:
        with deterministic():
            assert registry._active_backend is dispatch.AttentionBackendName.NATIVE
        assert registry._active_backend is dispatch.AttentionBackendName._NATIVE_MATH
    finally:
        registry.set_active_backend(before)


class Workspaces:
    """The functions of a build of torch with CUDA, which this machine may not have."""

    def __init__(self, size: int) -> None:
        self.size, self.freed, self.asked = size, 0, 0

    def _cuda_getCublasWorkspaceSize(self) -> int:  # noqa: N802 - torch's name
        self.asked += 1
        return self.size

    def _cuda_setCublasWorkspaceSize(self, size: int) -> None:  # noqa: N802 - torch's name
        self.size = size

    def _cuda_clearCublasWorkspaces(self) -> None:  # noqa: N802 - torch's name
        self.freed += 1


@pytest.mark.parametrize("started", [False, True])
def test_the_workspace_is_set_once_cuda_has_started(started: bool) -> None:
    """To ask for it earlier would start CUDA; the variable decides then."""
    library = Workspaces(65536)
    torch_with_cuda = SimpleNamespace(cuda=SimpleNamespace(is_initialized=lambda: started))
    switch = guard_table._workspace(torch_with_cuda, library, "Cublas")
    assert switch.wanted == process.WORKSPACE_BYTES == 33_554_432
    before = switch.read()
    assert before == (65536 if started else switch.wanted)
    switch.apply()
    switch.check("")
    assert library.size == (switch.wanted if started else 65536)
    switch.set(before)
    assert (library.size, library.freed) == (65536, 2 * started)
    assert bool(library.asked) is started


def test_numerics_are_json_and_do_not_depend_on_what_was_set_before(other_settings: None) -> None:
    inside = numerics()
    assert json.loads(json.dumps(inside)) == inside
    assert set(inside) == {switch.name for switch in switches()} | {"tensor_cores", "variables"}
    assert inside["cpu_threads"] == 1
    assert inside["float32_precision"]["cuda.conv"] == "ieee"
    assert inside["cublas.fp16_reduction"] == [False, False]
    assert inside["deterministic_algorithms"] == "error"


def test_numerics_are_the_same_without_other_settings() -> None:
    assert numerics() == numerics()


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Start from a process without the guard's variables, and put back what was there."""
    for variable in process.VARIABLES:
        monkeypatch.setenv(variable.name, "placeholder")
        monkeypatch.delenv(variable.name)
    return monkeypatch


def test_variables_are_set_where_it_is_in_time(environment: pytest.MonkeyPatch) -> None:
    process.prepare_process()
    assert {name: os.environ[name] for name in ("CUBLAS_WORKSPACE_CONFIG", "TORCH_DISABLE_NATIVE_JIT")} == {
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
        "TORCH_DISABLE_NATIVE_JIT": "1",
    }
    process.prepare_process()


@pytest.mark.parametrize("present", [None, ":16:8"])
def test_too_late_for_cublas_once_cuda_has_started(environment: pytest.MonkeyPatch, present: Any) -> None:
    if present is not None:
        environment.setenv("CUBLAS_WORKSPACE_CONFIG", present)
    environment.setattr(torch.cuda, "is_initialized", lambda: True)
    message = (
        "CUBLAS_WORKSPACE_CONFIG must be ':4096:8'.*CUDA has already started.*Export CUBLAS_WORKSPACE_CONFIG=:4096"
    )
    with pytest.raises(DeterminismError, match=message), deterministic():
        pytest.fail("the guard was entered")
    assert os.environ.get("CUBLAS_WORKSPACE_CONFIG") == present
    assert "USE_HUB_KERNELS" not in os.environ, "nothing is set where something is refused"


def test_cuda_that_started_after_the_export_is_fine(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    environment.setenv("CUBLASLT_WORKSPACE_SIZE", "32768")
    environment.setattr(torch.cuda, "is_initialized", lambda: True)
    process.prepare_process()


def test_a_workspace_that_can_be_set_is_never_too_late(environment: pytest.MonkeyPatch) -> None:
    """What users of notebooks meet: CUDA is in use, and nobody has heard of the variables."""
    environment.setattr(torch.cuda, "is_initialized", lambda: True)
    environment.setattr(core, "_cuda_setCublasWorkspaceSize", lambda _: None, raising=False)
    process.prepare_process()
    assert os.environ["NVIDIA_TF32_OVERRIDE"] == "0"


@pytest.mark.parametrize(
    "name", ["NVIDIA_TF32_OVERRIDE", "TORCH_CUDNN_USE_HEURISTIC_MODE_B", "TORCH_CUDNN_V8_API_DISABLED"]
)
def test_a_variable_that_cuda_has_read_is_refused(environment: pytest.MonkeyPatch, name: str) -> None:
    environment.setattr(core, "_cuda_setCublasWorkspaceSize", lambda _: None, raising=False)
    environment.setenv(name, "1")
    process.prepare_process()
    assert os.environ[name] == "0"
    environment.setenv(name, "1")
    environment.setattr(torch.cuda, "is_initialized", lambda: True)
    with pytest.raises(
        DeterminismError, match=f"{name} must be '0'.*CUDA has already started in this process with '1'"
    ):
        process.prepare_process()


def test_metal_matters_only_where_there_is_metal(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("PYTORCH_ENABLE_MPS_FALLBACK", "1")
    process.prepare_process()
    environment.setenv("PYTORCH_ENABLE_MPS_FALLBACK", "1")
    environment.setattr(torch.backends.mps, "is_available", lambda: True)
    with pytest.raises(DeterminismError, match=r"PYTORCH_ENABLE_MPS_FALLBACK must be '0'.*imported with '1'"):
        process.prepare_process()


def test_hub_kernels_matter_only_where_the_package_is_installed(environment: pytest.MonkeyPatch) -> None:
    from transformers.integrations import hub_kernels

    environment.setattr(hub_kernels, "_kernels_enabled", True)
    process.prepare_process()
    environment.setattr(hub_kernels, "is_kernels_available", lambda: True)
    with pytest.raises(DeterminismError, match=r"USE_HUB_KERNELS must be '0'.*'kernels' is installed"):
        process.prepare_process()


def run_python(code: str, **variables: str) -> subprocess.CompletedProcess[str]:
    names = {variable.name for variable in process.VARIABLES}
    clean = {name: value for name, value in os.environ.items() if name not in names}
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code], env=clean | variables, capture_output=True, text=True, check=False
    )


def test_a_process_is_left_as_it_began() -> None:
    """torch begins with TF32 for cuDNN, which nobody set; torch.export reads that, and fails where it is half lost."""
    code = """
import torch
from crynux_validate.pipelines.guard.determinism import deterministic
began = torch._C._get_cudnn_allow_tf32()
for _ in range(2):
    with deterministic():
        assert not torch._C._get_cudnn_allow_tf32()
    print(torch._C._get_cudnn_allow_tf32() == began)
"""
    done = run_python(code)
    assert done.stdout == "True\nTrue\n", done.stderr


def test_diffusers_that_was_imported_with_another_backend_is_refused() -> None:
    """A plain import of torch, diffusers and transformers is fine: this process and the workers have done it."""
    code = """
import diffusers.utils.constants
from crynux_validate.errors import DeterminismError
from crynux_validate.pipelines.guard.determinism import deterministic
try:
    with deterministic():
        print("entered")
except DeterminismError as error:
    print(error)
"""
    late = run_python(code, DIFFUSERS_ATTN_BACKEND="_native_flash")
    assert "DIFFUSERS_ATTN_BACKEND must be 'native'" in late.stdout, late.stderr
    assert "already been imported with '_native_flash'" in late.stdout


def test_preparing_needs_no_torch() -> None:
    code = """
import os, sys
from crynux_validate.pipelines.guard.process import prepare_process
prepare_process()
assert not {"torch", "numpy", "diffusers", "transformers"} & set(sys.modules)
print(os.environ["TORCH_DISABLE_NATIVE_JIT"])
"""
    done = run_python(code)
    assert done.stdout == "1\n", done.stderr


def test_a_missing_package_is_named() -> None:
    with pytest.raises(ModuleNotFoundError, match="no_such_package") as caught:
        process.require("no_such_package")
    assert caught.value.name == "no_such_package"


def test_the_error_is_a_pipeline_error() -> None:
    assert issubclass(DeterminismError, PipelineError)
