"""The checks, one after the other: from what is installed to what is computed."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import crynux_validate as cv
from crynux_validate.doctor import work
from crynux_validate.doctor.checks import Check, Report, Status
from crynux_validate.errors import CrynuxValidateError, PipelineError
from crynux_validate.vectors_check import check_vector, load_vectors

PACKAGES: Final = ("torch", "diffusers", "transformers", "numpy")
MEMORY_GIB: Final = 8
DISK_GIB: Final = 20
REFERENCE: Final = Path(__file__).with_name("reference.json")
"""What a machine computed once of the same tasks, and which."""

NOISE_BITS: Final = 4
"""Bits of a hash by which honest machines were seen to differ at most (docs/measurements/images.md)."""


def examine(device: str | None = None, on_check: Callable[[Check], None] | None = None) -> Report:
    """Try on this machine what an honest node depends on.

    Parameters
    ----------
    device
        As for `Runner`: ``cpu``, ``cuda``, ``cuda:1``, ``mps``; by default the first that is there.
    on_check
        Is called with each check as soon as it is made.

    Raises
    ------
    InvalidInputError
        For a device that does not exist.
    MissingExtraError
        Where the packages of image or text tasks are not installed.
    """
    from crynux_validate.pipelines.guard.probe import find_device

    found = str(find_device(device))
    checks: list[Check] = []
    environment: dict[str, Any] | None = None
    with tempfile.TemporaryDirectory() as folder:
        for check in _checks(Path(folder), found):
            checks.append(check)
            if on_check is not None:
                on_check(check)
            environment = check.seen.pop("environment", environment)
            if check.name == "guard" and check.status is Status.FAILED:
                break  # nothing below could be computed
    return Report(tuple(checks), environment)


def _checks(folder: Path, device: str) -> Iterator[Check]:
    yield _installed(device)
    yield _room()
    yield _guard(device)
    yield _vectors()
    here = _tried("computing", lambda: work.computed(folder, device))
    if isinstance(here, Check):
        yield here
        return
    elsewhere = _tried("process", lambda: _in_another_process(folder, device))
    yield _repeats("picture", here, elsewhere)
    yield _repeats("text", here, elsewhere)
    yield _canary(here, elsewhere)
    yield _beside_reference(here)
    if device.startswith("cuda"):
        from crynux_validate.doctor.card import checks

        yield from checks(device)


def _installed(device: str) -> Check:
    versions = {name: version(name) for name in PACKAGES}
    gpu = cv.local_gpu(device)
    told = ", ".join(f"{name} {found}" for name, found in versions.items())
    seen = {"versions": versions, "gpu": gpu.to_dict(), "python": sys.version.split()[0]}
    return Check("system", Status.OK, f"{gpu}; Python {seen['python']}, {told}", seen=seen)


def _room() -> Check:
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30 if hasattr(os, "sysconf") else None
    cache = Path(os.environ.get("HF_HOME", Path.home() / ".cache" / "huggingface"))
    there = next(path for path in (cache, *cache.parents) if path.exists())
    disk = shutil.disk_usage(there).free / 2**30
    seen = {"memory_gib": memory, "free_disk_gib": disk}
    told = f"{disk:.0f} GiB free where models are kept ({there})"
    if memory is not None:
        told = f"{memory:.0f} GiB of memory, {told}"
    if (memory is not None and memory < MEMORY_GIB) or disk < DISK_GIB:
        todo = f"Stable Diffusion takes about {MEMORY_GIB} GiB of memory and {DISK_GIB} of disk; HF_HOME moves models"
        return Check("room", Status.ADVICE, told, todo, seen)
    return Check("room", Status.OK, told, seen=seen)


def _guard(device: str) -> Check:
    try:
        with cv.deterministic():
            environment = cv.local_environment(device)
    except CrynuxValidateError as error:
        return Check("guard", Status.FAILED, str(error), "no answer of this machine would be reproducible until then")
    found = f"every switch holds; kernels {environment.kernel_digest.hex()[:8]}, numerics "
    found += environment.numerics_digest.hex()[:8]
    return Check("guard", Status.OK, found, seen={"environment": environment.to_dict()})


_OF_PIXELS: Final = {"keyed-values", "phash", "picture", "tensor-core", "trace"}
"""Kinds of vectors that numpy or Pillow compute, at least in part."""


def _vectors() -> Check:
    vectors = load_vectors(None)
    broken = [vector.id for vector in vectors if not vector.aside and check_vector(vector) is not None]
    if broken:
        kinds = sorted({vector.kind for vector in vectors if vector.id in broken})
        pixels = set(kinds) <= _OF_PIXELS
        fault = "look at the versions of numpy and Pillow" if pixels else "install this library again: it is damaged"
        todo = f"{fault}; `crynux-validate vectors --verify` shows each of {', '.join(kinds)}"
        return Check("vectors", Status.FAILED, f"{len(broken)} of {len(vectors)} do not hold", todo, {"broken": broken})
    return Check("vectors", Status.OK, f"all {len(vectors)} hold: hashes, digests, draws, verdicts")


def _tried(name: str, call: Callable[[], dict[str, Any]]) -> dict[str, Any] | Check:
    """What a call returns, or the check that says why it did not."""
    try:
        return call()
    except CrynuxValidateError as error:
        return Check(name, Status.FAILED, str(error), "the message says what is missing")


def _in_another_process(folder: Path, device: str) -> dict[str, Any]:
    command = [sys.executable, "-m", work.__name__, str(folder), device]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - this interpreter
    if done.returncode != 0:
        last = done.stderr.strip().splitlines()[-1:] or [f"it ended with {done.returncode}"]
        raise PipelineError(f"a second process could not compute the tasks: {last[0]}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _repeats(what: str, here: dict[str, Any], elsewhere: dict[str, Any] | Check) -> Check:
    """Whether the same task gave the same bits: after other tasks, and in another process."""
    if isinstance(elsewhere, Check):
        return Check(what, Status.FAILED, elsewhere.found, elsewhere.todo)
    parts = {
        "in one process, with other tasks between": here[what] == here[f"{what}_again"],
        "in another process": here[what] == elsewhere[what],
    }
    seen = {"score": here[what], "seconds": here["seconds"][what]}
    broken = [where for where, equal in parts.items() if not equal]
    if broken:
        todo = "honest nodes would disagree with it: close other programs on the card, update its driver, try again"
        return Check(what, Status.FAILED, f"the same task gave other bits {' and '.join(broken)}", todo, seen)
    return Check(what, Status.OK, f"the same bits {' and '.join(parts)}; {seen['seconds']:.1f} s", seen=seen)


def _canary(here: dict[str, Any], elsewhere: dict[str, Any] | Check) -> Check:
    digests = {*here["canary"], *([] if isinstance(elsewhere, Check) else elsewhere["canary"])}
    seen = {"canary": here["canary"][0]}
    if len(digests) > 1:
        todo = "it would be in a class of its own in each epoch, and get no text tasks"
        return Check("canary", Status.FAILED, "one challenge gave several canaries", todo, seen)
    return Check("canary", Status.OK, f"one challenge gave {here['canary'][0][:8]} four times", seen=seen)


def _beside_reference(here: dict[str, Any]) -> Check:
    """How far the picture and the text are from those of another machine."""
    reference = json.loads(REFERENCE.read_text("utf-8"))
    bits = cv.hamming(int(here["hash"], 16), int(reference["hash"], 16))
    same = here["token_ids"] == reference["token_ids"]
    seen = {"bits": bits, "same_tokens": same, "reference": reference["machine"]}
    text = "the same text" if same else "another text, as machines of other classes may give"
    found = f"beside {reference['machine']}: {bits} of 64 bits of the picture's hash differ, and {text}"
    if bits > NOISE_BITS:
        status = Status.FAILED if bits >= cv.Policy().threshold else Status.ADVICE
        todo = f"honest machines were seen to differ by {NOISE_BITS} at most: compare the versions above with others'"
        return Check("reference", status, found, todo, seen)
    return Check("reference", Status.OK, found, seen=seen)
