"""The command line: one file a command, each with ``add_parser`` and ``main``.

Output is for people by default, ``--json`` for programs; errors go to standard error, a line each. Exit code 0: done,
or the two agree; 1: they do not agree; 2: bad input, or this machine could not do it, whatever the reason; 130 and 143:
ended by Ctrl-C or SIGTERM.

Nothing but signals is imported here: Ctrl-C while the rest is imported is Ctrl-C, and no traceback.
"""

from crynux_validate.cli import signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def main(argv: "Sequence[str] | None" = None) -> int:
    """Run one command; returns the exit code.

    Parameters
    ----------
    argv
        The arguments. None: those of this process, which then is the command and nothing else: it handles signals, and
        loses its standard streams where they cannot be written to.

    Raises
    ------
    SystemExit
        What argparse raises: after ``--help`` and ``--version``, and for arguments that it cannot read.
    """
    if argv is None:
        return signals.run_process(_program)
    from crynux_validate.cli.program import run_command

    return run_command(argv)


def _program() -> int:
    import sys

    from crynux_validate.cli.program import run_command

    signals.raise_them()
    return run_command(sys.argv[1:])
