"""The logger of the library: ``logging.getLogger("crynux_validate")``.

Nothing is shown unless the program sets up `logging`. ``INFO`` records follow work that takes time, with its seconds: a
model was loaded, a task was run. ``WARNING`` records tell an operator of something to look at. Prompts, texts and
secrets are never logged.
"""

import logging
from typing import Final

log: Final = logging.getLogger("crynux_validate")
"""The logger of the library; modules log as its children."""

log.addHandler(logging.NullHandler())
