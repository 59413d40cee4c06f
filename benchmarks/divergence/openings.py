"""Openings of verses, for a model that has read the King James Bible."""

import hashlib
from itertools import product
from string import Formatter
from typing import Final

_WORDS: Final = {
    "man": "Moses, Aaron, David, Samuel, Joshua, Solomon, Elijah, Gideon, Jacob, Joseph, Peter, Paul",
    "king": "Saul, Ahab, Hezekiah, Josiah, Jeroboam, Pharaoh, Herod, Darius",
    "people": "the people, the elders, his servants, the priests, his brethren, the Philistines",
    "person": "woman, prophet, shepherd, widow, servant, stranger, captain, judge",
    "place": "Moab, Egypt, Judah, Gilead, Jerusalem, Samaria, Babylon, Bethel, Hebron, Damascus",
    "number": "first, second, third, fourth, seventh, tenth, twelfth, fifteenth",
    "virtue": "wise, righteous, meek, poor, faithful, merciful, upright, humble",
    "thing": "mountains, waters, heavens, vineyards, cedars, kings, islands, gates",
}

_OPENINGS: Final = (
    "And {man} said unto {people},",
    "Now there was a {person} in the land of {place}",
    "And it came to pass, when {man} came to {place}, that",
    "The word of the LORD came unto {man} in {place}, saying,",
    "Blessed is the {virtue} {person} that",
    "In the {number} year of {king} the king",
    "Then {king} answered {people}, and said,",
    "Let the {thing} of {place}",
    "Woe unto {place}, for the {thing}",
    "And {people} of {place} gathered themselves together,",
    "The heart of the {virtue} {person}",
    "And the {number} son of {man} was",
)


def openings(count: int, seed: int = 0) -> list[str]:
    """Return that many different openings: the kinds of opening in turn, each in an order that the seed decides.

    Raises
    ------
    ValueError
        Where there are fewer.
    """
    kinds = [sorted(_filled(opening), key=lambda text: _digest(seed, text)) for opening in _OPENINGS]
    most = len(kinds) * min(map(len, kinds))
    if not 1 <= count <= most:
        raise ValueError(f"{count} openings were asked for; there are 1 to {most}")
    return [kinds[at % len(kinds)][at // len(kinds)] for at in range(count)]


def _filled(opening: str) -> list[str]:
    names = [name for _, name, _, _ in Formatter().parse(opening) if name is not None]
    return [
        opening.format(**dict(zip(names, words, strict=True)))
        for words in product(*(_WORDS[name].split(", ") for name in names))
    ]


def _digest(seed: int, text: str) -> str:
    return hashlib.sha256(f"{seed} {text}".encode()).hexdigest()
