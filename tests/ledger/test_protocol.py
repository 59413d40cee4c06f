"""The `Ledger` Protocol is frozen: within a version nothing of it changes, and both ledgers have it as it is."""

import inspect
import re
from typing import Any

import pytest

from crynux_validate import Ledger, MemoryLedger, SqlLedger
from crynux_validate.ledger import LEDGER_VERSION, StoringLedger

VERSION_2 = """\
account(account: str) -> int
attest_commit(node: str, commitment: bytes, *, epoch: int, signature: bytes | None = None) -> Node
attest_reveal(node: str, attestation: Attestation, nonce: bytes) -> Node
commit(group: str, node: str, commitment: bytes, *, round: int = 1, signature: bytes | None = None) -> Group
deposit(account: str, amount: int) -> int
draw(group: str) -> Group
epoch() -> Epoch
events(since: int = 0) -> Sequence[Event]
evidence(group: str, node: str) -> Evidence
group(group: str) -> Group
id
join(node: str, *, owner: str, gpu: GpuModel, stake: int, public_key: bytes | None = None) -> Node
leave(node: str) -> Node
node(node: str) -> Node
nodes() -> Sequence[Node]
now() -> int
open_group(task: Task, *, creator: str, fee: int, min_memory_gib: int = 0, gpu_class: NodeClass | str | None = None) -> Group
policy
reveal(group: str, node: str, opening: Opening | bytes, *, round: int = 1) -> Group
settle(group: str) -> Group
top_up(node: str, amount: int) -> Node
totals() -> Totals
withdraw(account: str, amount: int) -> int
"""  # noqa: E501
"""Another line here is another version: raise `LEDGER_VERSION`, and keep this one."""


def signature_of(member: Any) -> str:
    """Parameters and what is returned, with the short names of types."""
    if isinstance(member, property):
        return ""
    parts = []
    signature = inspect.signature(member)
    star = False
    for parameter in list(signature.parameters.values())[1:]:
        if parameter.kind is parameter.KEYWORD_ONLY and not star:
            star = True
            parts.append("*")
        default = "" if parameter.default is parameter.empty else f" = {parameter.default!r}"
        parts.append(f"{parameter.name}: {short(parameter.annotation)}{default}")
    return f"({', '.join(parts)}) -> {short(signature.return_annotation)}"


def short(annotation: Any) -> str:
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    if "ImageTask" in text and "TextTask" in text:
        return "Task"
    return re.sub(r"(?:crynux_validate|collections)\.[\w.]*?(\w+)\b(?!\.)", r"\1", text)


def shown(kind: type) -> dict[str, str]:
    found = {}
    for name in dir(kind):
        member = inspect.getattr_static(kind, name)
        if not name.startswith("_") and (callable(member) or isinstance(member, property)):
            found[name] = signature_of(member)
    return found


def test_version_2() -> None:
    assert LEDGER_VERSION == 2
    lines = [name + signature for name, signature in sorted(shown(Ledger).items())]
    assert "\n".join(lines) + "\n" == VERSION_2


@pytest.mark.parametrize("kind", [MemoryLedger, SqlLedger, StoringLedger])
def test_ledgers_have_it(kind: type) -> None:
    mine = shown(kind)
    for name, signature in shown(Ledger).items():
        assert mine[name] == signature, name
