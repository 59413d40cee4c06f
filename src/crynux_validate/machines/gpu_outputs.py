"""What programs print about cards, as one line a card: its name, and its memory where the program says it.

Read are the output formats of nvidia-smi (``--query-gpu=... --format=csv`` with a header, ``-L``, ``-q``, ``-q -x``),
rocm-smi, and macOS's system_profiler and sysctl. A text in none of these forms stays as it is.
"""

import re
from typing import Final

from crynux_validate.encoding import shorten
from crynux_validate.errors import InvalidInputError

_LISTED: Final = re.compile(r"GPU [0-9]+: (.+) \(UUID: [^()]*\)")
_PARTITION: Final = re.compile(r"MIG \S+ +Device +[0-9]+:.*")
_XML_CARD: Final = re.compile(r"<gpu(?: [^<>]*)?>(.*?)</gpu>", re.DOTALL)
_XML_NAME: Final = re.compile(r"<product_name>([^<>]*)</product_name>")
_XML_MEMORY: Final = re.compile(r"<fb_memory_usage>\s*<total>([^<>]*)</total>")
_KEYED: Final = re.compile(
    r"^[ \t]*(?:GPU\[[0-9]+\][ \t]*:[ \t]*)?"
    r"(?:Chipset Model|Chip|Card [Ss]eries|Product Name|machdep\.cpu\.brand_string)[ \t]*:[ \t]*(.*?)[ \t\r]*$",
    re.MULTILINE,
)
_KEYED_MEMORY: Final = re.compile(
    r"^[ \t]*FB Memory Usage[ \t\r]*\n[ \t]*Total[ \t]*:[ \t]*(.*?)[ \t\r]*$", re.MULTILINE
)
_NAME_COLUMNS: Final = ("name", "gpu_name", "Card Series", "Card series")
_MEMORY_COLUMN: Final = re.compile(r"memory\.total(?: \[([A-Za-z]+)\])?")
_MAC_NODE: Final = re.compile(r"\r?\n[ \t]*Type(?=\s*(?:\+|,|\(|\Z))")


def tidy(text: str) -> str:
    """Trim and collapse spaces and tabs, and trim line breaks; other white space stays, and is no part of a name."""
    # The live network's node takes on macOS the beginning of the next line into the name: "Apple M2 Max\n      Type".
    return re.sub(r"[ \t]+", " ", _MAC_NODE.sub("", text).strip(" \t\r\n"))


def card_lines(text: str) -> list[str]:
    """Return a line for each card, in which white space is collapsed.

    Raises
    ------
    InvalidInputError
        For cards that are partitioned (MIG), and what does not fit the format that it begins in.
    """
    lines = [line for line in map(tidy, _MAC_NODE.sub("", text).split("\n")) if line]
    if "<nvidia_smi_log" in text or "<product_name>" in text:
        cards = [_of_xml(card) for card in _XML_CARD.findall(text)]
        if not cards:
            raise InvalidInputError("the XML of nvidia-smi names no card")
        return cards
    if lines and lines[0].startswith("GPU ") and "(UUID: " in lines[0]:
        return [_of_list(line) for line in lines]
    if lines and {column.strip() for column in lines[0].split(",")} & set(_NAME_COLUMNS):
        return _of_table(lines)
    if names := _KEYED.findall(text):
        memory = _KEYED_MEMORY.findall(text)
        if len(memory) != len(names):
            return names
        return [f"{name}, {size}" for name, size in zip(names, memory, strict=True)]
    return lines


def _of_xml(card: str) -> str:
    name, memory = _XML_NAME.search(card), _XML_MEMORY.search(card)
    if "<mig_device>" in card:
        raise _partitioned("the card")
    found = name[1].strip() if name else ""
    return f"{found}, {memory[1].strip()}" if memory else found


def _of_list(line: str) -> str:
    if _PARTITION.fullmatch(line):
        raise _partitioned(shorten(line))
    card = _LISTED.fullmatch(line)
    if card is None:
        raise InvalidInputError(f"{shorten(line)} is not a line of nvidia-smi -L; expected 'GPU 0: NAME (UUID: ...)'")
    return card[1]


def _partitioned(what: str) -> InvalidInputError:
    return InvalidInputError(
        f"{what} is partitioned (MIG); give the partition: the name that torch.cuda.get_device_name() returns, and the"
        " partition's memory"
    )


def _of_table(lines: list[str]) -> list[str]:
    """Rows under a header; columns other than the name's and the whole memory's do not matter."""
    header = [column.strip() for column in lines[0].split(",")]
    name = next(at for at, column in enumerate(header) if column in _NAME_COLUMNS)
    columns = {at: found for at, column in enumerate(header) if (found := _MEMORY_COLUMN.fullmatch(column))}
    cards = []
    for line in lines[1:]:
        row = [value.strip() for value in line.split(",")]
        if len(row) != len(header):
            raise InvalidInputError(f"{shorten(line)} has {len(row)} columns; its header has {len(header)}")
        card = row[name]
        for at, found in columns.items():
            unit = f" {found[1]}" if found[1] and re.fullmatch("[0-9.]+", row[at]) else ""
            card += f", {row[at]}{unit}"
        cards.append(card)
    if not cards:
        raise InvalidInputError(f"{shorten(lines[0])} is a header without a line for a card")
    return cards
