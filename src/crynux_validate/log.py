"""What the library tells a program that asks: ``logging.getLogger("crynux_validate")``.

Nothing is shown unless the program sets up `logging`. ``INFO`` is what takes time: a model that is loaded, a task that
is run, each when it is done and with its seconds. ``WARNING`` is what an operator should look at, though it went well.
No prompt, no text and no secret is logged.
"""

import logging
from typing import Final

log: Final = logging.getLogger("crynux_validate")
"""The logger of the library; modules log as its children."""

log.addHandler(logging.NullHandler())
