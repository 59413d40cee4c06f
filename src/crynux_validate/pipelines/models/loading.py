"""What loading a model of any kind needs: dtypes, silence, and errors that name the files."""

import importlib
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError

from crynux_validate.errors import ModelError
from crynux_validate.tasks import ModelRef
from crynux_validate.tasks.folder import check_unchanged, digest_of_states, folder_states

DTYPES: Final[Mapping[str, torch.dtype]] = {
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
}

READING: Final = (OSError, ValueError, RuntimeError, KeyError, TypeError, AttributeError, ImportError, SafetensorError)
"""What diffusers, transformers and safetensors raise for files that are missing, damaged or of the wrong shape."""

RUNNING: Final = (RuntimeError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError, AssertionError)
"""What torch and its libraries raise when a computation fails: no memory, a shape that a model cannot take."""

_LIBRARIES: Final = r"(diffusers|transformers|torch|accelerate)(\.|$)"


@contextmanager
def quiet(*libraries: str) -> Iterator[None]:
    """Keep libraries from writing to standard error; their own settings are put back.

    What they would log there and what matters (missing weights, prompts that are too long) is an error here. Warnings
    about their own use of old interfaces are no business of the caller's. Enter the guard first: its lock keeps two
    threads from undoing each other's settings.

    Parameters
    ----------
    libraries
        ``transformers``, ``diffusers``: imported if they are not yet.
    """
    with ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        for category in (DeprecationWarning, PendingDeprecationWarning, FutureWarning):
            warnings.filterwarnings("ignore", category=category, module=_LIBRARIES)
        for library in libraries:
            stack.enter_context(_silent(f"{library}.utils.logging"))
        yield


@contextmanager
def _silent(module: str) -> Iterator[None]:
    """Silence one library's log and progress bars. Importing diffusers logs which optional packages are missing."""
    log: Any = importlib.import_module(module)
    verbosity, bar = log.get_verbosity(), log.is_progress_bar_enabled()
    # Errors too: diffusers logs those that it also raises.
    log.set_verbosity(log.CRITICAL)
    log.disable_progress_bar()
    try:
        yield
    finally:
        log.set_verbosity(verbosity)
        if bar:
            log.enable_progress_bar()


@contextmanager
def local_folder(model: ModelRef) -> Iterator[Path]:
    """Give the folder of a model that is named by its digest: checked now, and again after it was loaded.

    The path is absolute: libraries take a relative one for the name of a hub repository, which decides about more than
    the place.

    Raises
    ------
    ModelError
        Where it is not there, not what `model` says, or changes meanwhile.
    """
    if model.path is None:
        raise ModelError(f"where {model} lies on this machine is not known; name its folder: model.at(folder)")
    folder = Path(os.path.abspath(model.path))
    states = folder_states(folder)
    found = digest_of_states(folder, states)
    if found != model.digest:
        raise ModelError(f"{folder} holds the model {found}, but the task asks for {model.digest}")
    yield folder
    check_unchanged(folder, states)


def check_not_shadowed(name: str) -> None:
    """Refuse a hub's name that is also a path from here: libraries load what lies there in its place."""
    if os.path.exists(name):
        raise ModelError(
            f"{os.path.abspath(name)} would be loaded in place of the hub's {name}; start in another folder, or name "
            "the local one by its digest (ModelRef.local)"
        )


def not_found(model: ModelRef, error: Exception) -> ModelError:
    """Return the error for a hub model that cannot be had."""
    return ModelError(
        f"{model} can be neither found in the local cache nor downloaded: {first_line(error)}. Check its name, "
        "revision and variant, and the connection; with HF_HUB_OFFLINE=1 it must be in the cache already"
    )


def check_complete(part: str, source: object, info: Mapping[str, Any]) -> None:
    """Refuse weights that lack something: the library fills it with random numbers and a line in a log."""
    for problem in ("missing_keys", "mismatched_keys", "error_msgs"):
        if info.get(problem):
            names = ", ".join(sorted(map(str, info[problem]))[:3])
            raise ModelError(
                f"{part} in {source}: {len(info[problem])} {problem.replace('_', ' ')} ({names}, ...); its files do "
                "not hold the whole component, and what is missing would be random. Get them again"
            )


def reading(part: str, source: object, load_it: Callable[[], Any]) -> Any:
    """Run something that reads model files; what it raises is a `ModelError` that says which."""
    try:
        return load_it()
    except Exception as error:
        # The cause says what is wrong with a configuration that transformers' dataclasses refuse.
        refused = type(error).__name__.startswith("StrictDataclass")
        if isinstance(error, ModelError) or not (refused or isinstance(error, READING)):
            raise
        told = error.__cause__ or error if refused else error
        reason = f"{type(told).__name__}: {first_line(told)}"
        raise ModelError(
            f"{part} in {source} cannot be loaded: {reason}. Needed are its configuration and safetensors files (of "
            "the variant that the model names, if any), undamaged"
        ) from error


def own_memory(module: torch.nn.Module) -> torch.nn.Module:
    """Copy weights that still lie in their file: they would change with it, after the file was checked."""
    with torch.no_grad():
        for tensor in (*module.parameters(), *module.buffers()):
            if tensor.device.type == "cpu":
                tensor.data = tensor.data.clone()
    return module


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
