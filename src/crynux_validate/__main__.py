"""``python -m crynux_validate`` is the command line."""

import sys

from crynux_validate.cli import main

sys.exit(main())
