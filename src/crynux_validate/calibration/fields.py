"""What the fields of a calibration can hold, in a form that pydantic checks where one is read."""

import re
from typing import Annotated, Final, TypeAlias

from pydantic import AfterValidator, ConfigDict, Field

from crynux_validate.algorithms import HASH_BITS
from crynux_validate.encoding import MAX_SAFE_INTEGER

CHEAT_NAME: Final = r"[a-z0-9][a-z0-9._-]{0,63}"
"""What names of cheats look like, ``unrelated`` among them: a regular expression."""

HONEST: Final = "honest"
"""The role of what a machine answered that did what was asked."""

UNRELATED: Final = "unrelated"
"""The role of a picture that has nothing to do with any task; also the name of the cheat that hands one in."""

CHEAT: Final = "cheat:"
"""What the role of a cheat begins with; its name follows."""

NO_OTHERS: Final = ConfigDict(extra="forbid")
"""Of a class that is read on its own, and of all in it: fields that it does not have are refused."""

MAX_NAMES: Final = 10_000
MAX_TEXT: Final = 10_000


def _role(name: str) -> str:
    if not re.fullmatch(CHEAT_NAME, name):
        raise ValueError("expected honest, or the name of a cheat, like half-steps")
    return name


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("expected printable characters")
    return text


Count: TypeAlias = Annotated[int, Field(strict=True, ge=0, le=MAX_SAFE_INTEGER)]
Positive: TypeAlias = Annotated[int, Field(strict=True, ge=1, le=MAX_SAFE_INTEGER)]
Threshold: TypeAlias = Annotated[int, Field(strict=True, ge=1, le=HASH_BITS)]
Share: TypeAlias = Annotated[float, Field(strict=True, ge=0, le=1)]
Limit: TypeAlias = Annotated[float, Field(strict=True, gt=0, lt=1)]
Text: TypeAlias = Annotated[str, Field(strict=True, max_length=MAX_TEXT), AfterValidator(_printable)]
Texts: TypeAlias = Annotated[tuple[Text, ...], Field(max_length=MAX_NAMES)]
Role: TypeAlias = Annotated[str, Field(strict=True), AfterValidator(_role)]
"""``honest``, or the name of a cheat."""
