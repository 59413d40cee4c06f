"""What can be the name of a card or processor, and what cannot (protocol P1).

Vendors write names in letters, digits and a few signs. What programs print where a name should be (an identifier, a
version, a number, a placeholder, a sentence about an error) must never become one: two machines without a name would
count as one model.
"""

import re
import unicodedata
from typing import Final

from crynux_validate.encoding import shorten
from crynux_validate.errors import InvalidInputError

MAX_NAME_LENGTH: Final = 128
SIGNS: Final = " ()[]/@.,+&'#_-"
"""What names hold besides letters and digits: "Intel(R) Core(TM) i7-8700K CPU @ 3.70GHz"."""

_IDENTIFIER: Final = re.compile(
    r"\b(?:GPU|MIG)-[0-9a-f]{6}|\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-|\b[0-9a-f]{32}|\b0x[0-9a-f]+\b", re.IGNORECASE
)
_NUMBER: Final = re.compile(r"[vr][0-9]+(?:\.[0-9]+)+|[0-9.]+ ?(?:[kmgt]i?b|b|w|c|x|[mg]hz|bit)?", re.IGNORECASE)
"""A version, an index, a count, or a number with a unit; "V100" is a name."""

_PLACEHOLDER: Final = re.compile(
    r"\[.*\]|\(.*\)|n/?a|none|null|nil|nan|unknown|undefined|default|yes|no"
    r"|name|gpu_name|product_name|not [a-z]+|gpu ?\[?[0-9]*\]?|metal [0-9]+",
    re.IGNORECASE,
)
_STATE: Final = re.compile(r"enabled|disabled|on|off|p[0-9]{1,2}|wddm|tcc", re.IGNORECASE)
"""What stands in other columns than the name's; "P40" alone is a name."""

_VENDOR: Final = re.compile(
    r"(?:nvidia|amd|ati|intel|apple)(?: corporation| inc\.?)?|advanced micro devices.*", re.IGNORECASE
)
_WORDS: Final = frozenset(
    {
        # Of sentences, which no vendor writes into a name.
        "are", "because", "can't", "cannot", "could", "couldn't", "did", "didn't", "do", "does", "doesn't",
        "found", "has", "have", "is", "isn't", "please", "that", "this", "unable", "was", "were", "wasn't",
        "weren't",
        # Of errors, and of the programs that print them.
        "command", "cuda", "denied", "driver", "error", "errors", "exception", "fail", "failed", "failure",
        "fault", "insufficient", "invalid", "killed", "lost", "mismatch", "missing", "nvidia-smi", "nvml",
        "permission", "permissions", "requires", "rocm", "rocm-smi", "traceback", "unavailable", "uuid",
        "warning",
    }
)  # fmt: skip
_STARTS: Final = ("no ", "not ")


def usual(name: str) -> str:
    """Return a name without signs that no name holds, white space collapsed: for names that come from a machine."""
    return " ".join("".join(sign if _is_usual(sign) else " " for sign in name).split())[:MAX_NAME_LENGTH].strip()


def check_name(name: str, given: object) -> None:
    """Refuse what is not the name of a card or processor.

    Parameters
    ----------
    name
        In normal form.
    given
        What the caller passed, to show.

    Raises
    ------
    InvalidInputError
        Says why it is none.
    """
    problem = _problem(name)
    if problem:
        raise InvalidInputError(
            f"a GPU model's name is {shorten(given)}: {problem}; expected the vendor's name, 1 to {MAX_NAME_LENGTH}"
            " printable ASCII characters, like 'NVIDIA GeForce RTX 4090'"
        )


def _problem(name: str) -> str | None:
    """Why it is no name; None where it is one."""
    if not name:
        return "it is empty"
    if len(name) > MAX_NAME_LENGTH:
        return f"it has {len(name)} characters"
    strange = next((sign for sign in name if not _is_usual(sign)), None)
    if strange is not None:
        return f"it holds {_named(strange)}"
    if "..." in name:
        return "it was cut off"
    if _IDENTIFIER.search(name):
        return "it holds the identifier of one card"
    for part in name.split(","):
        if _NUMBER.fullmatch(part.strip()):
            return f"{part.strip()!r} is a number"
        if not part.strip() or _PLACEHOLDER.fullmatch(part.strip()):
            return f"{part.strip()!r} means that there is no name"
        if part != name and _STATE.fullmatch(part.strip()):
            return f"{part.strip()!r} is another column of a table"
    if _VENDOR.fullmatch(name):
        return "it names a vendor, and no model"
    words = name.lower().replace("[", " ").replace("]", " ").strip(".").split()
    telling = next((word for word in words if word.strip(".,()'") in _WORDS), None)
    if telling is None and name.lower().startswith(_STARTS):
        telling = words[0]
    if telling is not None:
        return f"it is a message, not a name (it holds {telling!r})"
    return None if name[0].isalnum() else f"it begins with {name[0]!r}"


def _is_usual(sign: str) -> bool:
    return sign.isascii() and (sign.isalnum() or sign in SIGNS)


def _named(sign: str) -> str:
    """A character that may look like another one, or like nothing."""
    name = unicodedata.name(sign, "a control character")
    return repr(sign) if sign.isascii() and sign.isprintable() else f"U+{ord(sign):04X} ({name})"
