"""What all matplotlib plots share: colours, file formats, writing files."""

import io
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Final

from crynux_validate.encoding import check_type
from crynux_validate.errors import InvalidInputError, needed_for
from crynux_validate.files import write_or_refuse

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS: Final = (".png", ".svg", ".pdf")

INK, PALE, RULE = "#1c2430", "#5b6675", "#d5dae1"
GOOD, UNSURE, BAD = "#1a7f4b", "#9a6700", "#c0262d"


def plot_path(path: str | PathLike[str]) -> Path:
    """Return the path of a plot, whose name ends with `.png`, `.svg` or `.pdf`.

    Raises
    ------
    InvalidInputError
        For another ending.
    MissingExtraError
        If matplotlib is not installed.
    """
    check_type(path, (str, PathLike), "path", "the name of a file")
    target = Path(path)
    if target.suffix.lower() not in FORMATS:
        raise InvalidInputError(f"the plot is {target}; expected a file name that ends with {', '.join(FORMATS)}")
    with needed_for("a plot", "plot"):
        import matplotlib.figure  # noqa: F401 - before the work, not after it
    return target


def save_figure(figure: "Figure", path: Path) -> Path:
    """Write a figure, whole or not at all, and return the path; raises `InvalidInputError` if that fails."""
    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=150, format=path.suffix[1:].lower())
    write_or_refuse(path, drawn.getvalue())
    return path
