"""``crynux-validate env``: what this machine is, and what decides which bits it computes."""

import argparse
import os
from dataclasses import dataclass
from typing import Any, Final

import crynux_validate
from crynux_validate.cli.common import Commands, add_device_flag, add_json_flag, read_file, say, say_json
from crynux_validate.encoding import DIGEST_BYTES, check_id, parse_hex, parse_json, shorten
from crynux_validate.errors import InvalidInputError
from crynux_validate.machines.environment import Environment
from crynux_validate.machines.gpu import GpuModel

DEFAULT_CHALLENGE: Final = "crynux-validate env"
"""What the canary answers where nobody says otherwise, so that two operators can compare."""

MAX_BYTES: Final = 1_000_000
_MAX_PROBES: Final = 1_000

_GPU_ADVICE: Final = {
    "name": "another GPU model: nothing aligns these",
    "memory_gib": "another GPU model: nothing aligns these",
    "platform": "run both in docker, or both without it on the same system",
    "count": "use as many cards on both",
    "tensor_parallel": "let several cards share each layer on both, or on neither",
}


@dataclass(frozen=True)
class _Machine:
    """What the command tells of one machine."""

    environment: Environment
    gpu: GpuModel
    challenge: bytes
    canary: bytes
    probes: dict[str, bytes]

    def to_dict(self) -> dict[str, Any]:
        probes = {name: found.hex() for name, found in self.probes.items()}
        canary = {"challenge": self.challenge.hex(), "digest": self.canary.hex(), "probes": probes}
        return {**self.environment.to_dict(), "gpu": self.gpu.to_dict(), "canary": canary}


def add_parser(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "env",
        help="what decides which bits this machine computes",
        description="Print what this machine is: its GPU model, everything that decides which kernels run, every "
        "switch of the guard as it is read back, and the canary, which shows what the machine computes. Text tasks "
        "go to machines that are equal in all of this. Exit code with --compare: 0 equal, 1 different, 2 bad input.",
    )
    add_device_flag(parser)
    parser.add_argument(
        "--challenge",
        metavar="TEXT",
        help="what the canary answers: a text, or bytes as hexadecimal digits after 0x "
        f"(default: {DEFAULT_CHALLENGE!r}, or that of FILE)",
    )
    parser.add_argument(
        "--compare",
        metavar="FILE",
        help="what 'env --json' printed on another machine (- for standard input): print the differences, and what "
        "to align",
    )
    add_json_flag(parser)
    parser.set_defaults(main=main)


def main(arguments: argparse.Namespace) -> int:
    """Print what this machine is, or what differs from another one."""
    challenge = None if arguments.challenge is None else _read_challenge(arguments.challenge)
    if arguments.compare is None:
        here = _probe(arguments.device, challenge or DEFAULT_CHALLENGE.encode())
        if arguments.json:
            say_json(here.to_dict())
        else:
            _print(here)
        return 0
    there = _read_machine(arguments.compare)
    if challenge not in {None, there.challenge}:
        raise InvalidInputError(
            f"{arguments.compare} answers the challenge 0x{there.challenge.hex()}, not the one given; leave "
            "--challenge out, or run 'env --json' with it on both machines"
        )
    here = _probe(arguments.device, there.challenge)
    from crynux_validate.pipelines.canary import canary_of

    if canary_of(there.challenge, there.probes) != there.canary:
        raise InvalidInputError(f"the canary in {arguments.compare} is not that of its probes: the file was changed")
    found = _differences(here, there)
    if arguments.json:
        say_json({"equal": not found, "differences": found})
    else:
        for line in found:
            say(line)
        say("different: these machines need not give the same text" if found else "equal: one class")
    return 1 if found else 0


def _probe(device: str | None, challenge: bytes) -> _Machine:
    # Where torch is not installed, this name says what to install.
    gpu = crynux_validate.local_gpu(device)
    from crynux_validate.pipelines.canary import canary_of, probes

    found = probes(challenge, device)
    return _Machine(crynux_validate.local_environment(device), gpu, challenge, canary_of(challenge, found), found)


def _print(machine: _Machine) -> None:
    environment = machine.environment.to_dict()
    say(f"gpu  {machine.gpu}")
    for part in ("kernel", "numerics"):
        say(f"{part}  {environment[f'{part}_digest']}")
        for line in _lines(environment[part], "  "):
            say(line)
    say(f"canary  {machine.canary.hex()}")
    say(f"  challenge: {_challenge_text(machine.challenge)}")
    for name, digest in machine.probes.items():
        say(f"  {name}: {digest.hex()[:16]}")


def _challenge_text(challenge: bytes) -> str:
    """The challenge as ``--challenge`` takes it."""
    if challenge.isascii() and (text := challenge.decode()).isprintable() and not text.startswith("0x"):
        return text
    return f"0x{challenge.hex()}"


def _lines(value: Any, indent: str) -> list[str]:
    lines = []
    for name, found in value.items():
        if isinstance(found, dict) and found:
            lines += [f"{indent}{name}", *_lines(found, indent + "  ")]
        else:
            text = " ".join(str(found).split())
            lines.append(f"{indent}{name}: {text if len(text) <= 160 else text[:157] + '...'}")
    return lines


def _differences(here: _Machine, there: _Machine) -> list[str]:
    """One sentence for each difference: of what the machines say, then of what they show."""
    found = []
    for name, advice in _GPU_ADVICE.items():
        ours, theirs = getattr(here.gpu, name), getattr(there.gpu, name)
        if ours != theirs:
            found.append(f"gpu.{name}: {ours!r} here, {theirs!r} there; {advice}")
    found += here.environment.compare(there.environment)
    if here.canary == there.canary:
        return found
    common = sorted(here.probes.keys() & there.probes.keys())
    other = [name for name in common if here.probes[name] != there.probes[name]]
    alone = sorted(here.probes.keys() ^ there.probes.keys())
    words = [f"{len(other)} of {len(common)} probes give other bits ({', '.join(other)})"] if other else []
    words += [f"{len(alone)} probes are of one machine only"] if alone else []
    advice = (
        "align what stands above, then compare again"
        if found
        else "what the machines say of themselves does not explain it: look for a fault of the device, for a setting "
        "that is not recorded, or for a file that is not of that machine"
    )
    return [*found, f"canary: {', '.join(words)}; {advice}"]


def _read_challenge(text: str) -> bytes:
    challenge = parse_hex(text[2:], "the challenge") if text.startswith("0x") else os.fsencode(text)
    if not challenge:
        raise InvalidInputError("the challenge is empty; give a text, or hexadecimal digits after 0x")
    return challenge


def _read_machine(path: str) -> _Machine:
    """Read what ``env --json`` printed on another machine."""
    what = f"the machine in {path}"
    value = parse_json(read_file(path, "the machine", MAX_BYTES), what, MAX_BYTES)
    if not isinstance(value, dict) or not {"gpu", "canary"} <= set(value):
        raise InvalidInputError(f"{what} has no gpu and canary; expected what 'crynux-validate env --json' prints")
    environment, gpu, canary = Environment.from_dict(value), GpuModel.from_dict(value["gpu"]), value["canary"]
    if environment.recipe is not None:
        raise InvalidInputError(f"{what} has a recipe, which only a run has; compare what 'env --json' prints")
    if not isinstance(canary, dict) or not isinstance(canary.get("probes"), dict):
        raise InvalidInputError(f"the canary of {what} is {shorten(canary)}; expected challenge, digest and probes")
    if not 1 <= len(canary["probes"]) <= _MAX_PROBES:
        raise InvalidInputError(f"{what} has {len(canary['probes'])} probes; expected 1 to {_MAX_PROBES}")
    probes = {
        check_id(name, "the name of a probe"): parse_hex(found, f"the probe {name}", DIGEST_BYTES)
        for name, found in canary["probes"].items()
    }
    challenge = parse_hex(canary.get("challenge"), "the challenge")
    digest = parse_hex(canary.get("digest"), "the digest of the canary", DIGEST_BYTES)
    return _Machine(environment, gpu, challenge, digest, probes)
