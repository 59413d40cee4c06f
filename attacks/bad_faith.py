"""Tasks that their creator chose so that honest machines disagree."""

from typing import Final

from attacks.answer import Attack

ATTACKS: Final[tuple[Attack, ...]] = ()
