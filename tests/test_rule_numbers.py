"""Every rule that code, tests and documents cite by its number stands in the protocol, once, with an anchor."""

import re
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
RULE: Final = r"[TACJPLU]\d{1,2}[a-z]?"
ANCHORED: Final = re.compile(rf'^- <a id="(\w+)"></a>\*\*({RULE})\*\* ', re.MULTILINE)
LIST: Final = re.compile(rf"\((?:[Pp]rotocol:? )?({RULE}(?:(?:, |-| and | to ){RULE})*)\)")
LINKED: Final = re.compile(r"protocol\.md#(\w+)")


def rules() -> list[tuple[str, str]]:
    """The anchors and numbers of the protocol's rules."""
    return ANCHORED.findall((ROOT / "docs" / "protocol.md").read_text("utf-8"))


def texts() -> list[Path]:
    """Everything that can cite a rule."""
    folders = ("src", "tests", "benchmarks", "attacks", "tools", "docs", "examples")
    found = [path for folder in folders for kind in ("*.py", "*.md") for path in (ROOT / folder).rglob(kind)]
    return [*found, ROOT / "README.md", ROOT / "CHANGELOG.md"]


def test_each_rule_has_an_anchor_that_is_its_number() -> None:
    found = rules()
    assert len(found) >= 40
    assert [anchor for anchor, _ in found] == [number.lower() for _, number in found]
    assert len({number for _, number in found}) == len(found)


def test_each_rule_that_is_cited_exists() -> None:
    known = {number for _, number in rules()}
    cited: dict[str, str] = {}
    for path in texts():
        for group in LIST.findall(path.read_text("utf-8")):
            cited |= dict.fromkeys(re.findall(RULE, group), str(path.relative_to(ROOT)))
    assert len(cited) >= 35, "the pattern finds nothing any more"
    assert {number: where for number, where in cited.items() if number not in known} == {}


def test_each_link_to_a_rule_leads_somewhere() -> None:
    anchors = {anchor for anchor, _ in rules()}
    for path in texts():
        missing = set(LINKED.findall(path.read_text("utf-8"))) - anchors
        assert not missing, f"{path} links to {missing}"
