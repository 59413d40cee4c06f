"""HTML of values for notebooks, in which text of others is escaped and shortened."""

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from PIL.Image import Image

MOST: Final = 8_000
"""The number of characters of a value that a notebook shows."""

SIDE: Final = 192
"""The largest width and height of a picture in a notebook, in pixels."""

_INVISIBLE: Final = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
"""Unicode categories of characters that are invisible, or that change how others are shown."""


class Shown:
    """A value that a notebook shows as the text of `str`."""

    def _repr_html_(self) -> str:
        return preformatted(str(self))


def shown(text: object) -> str:
    """Return a text as HTML: escaped, with invisible characters as their codes."""
    import unicodedata  # not at the top, like the next one: programs that only judge need neither
    from html import escape

    visible = "".join(
        f"\\u{{{ord(char):x}}}" if char != "\n" and unicodedata.category(char) in _INVISIBLE else char
        for char in str(text)
    )
    return escape(visible)


def preformatted(text: str) -> str:
    """Return a text as HTML that keeps its line breaks."""
    kept = text if len(text) <= MOST else f"{text[:MOST]}\n..."
    return f'<pre style="white-space: pre-wrap; line-height: 1.4">{shown(kept)}</pre>'


def pictures(images: "Iterable[Image]") -> str:
    """Return small copies of pictures as HTML, with their data inside."""
    import base64
    import io

    tags = []
    for image in images:
        small, stream = image.copy(), io.BytesIO()
        small.thumbnail((SIDE, SIDE))
        small.save(stream, "PNG")
        data = base64.b64encode(stream.getvalue()).decode("ascii")
        tags.append(f'<img src="data:image/png;base64,{data}" style="margin: 0 8px 8px 0; display: inline-block">')
    return "".join(tags)
