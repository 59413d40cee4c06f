"""Which pictures were used, and the hashes of their parts."""

import hashlib
import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import PIL

from benchmarks.photographs.sources import Found, open_picture, parts
from crynux_validate.algorithms import IMAGE_ALGORITHMS, ImageAlgorithm
from crynux_validate.hashing import image_hash


def shipped(name: str) -> "Record":
    """Return the record of a set; the built-in chance of agreement comes from that of the photographs."""
    return Record.from_json(Path(__file__).with_name(f"{name}.json").read_text("utf-8"))


@dataclass(frozen=True)
class Hashed:
    """One picture: where it is from, the SHA-256 of its file, and for each hash its 29 parts as 16 digits each."""

    package: str
    version: str
    path: str
    sha256: str
    hashes: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class Record:
    """All pictures of a run, and what decoded and hashed them."""

    versions: Mapping[str, str]
    pictures: tuple[Hashed, ...]

    def to_json(self) -> str:
        """One line for each picture and hash."""
        return json.dumps(
            {
                "versions": self.versions,
                "pictures": [
                    {**asdict(hashed), "hashes": {name: " ".join(bits) for name, bits in hashed.hashes.items()}}
                    for hashed in self.pictures
                ],
            },
            indent=1,
        )

    @classmethod
    def from_json(cls, text: str) -> "Record":
        """Read what `to_json` wrote."""
        read = json.loads(text)
        return cls(
            read["versions"],
            tuple(
                Hashed(**{**hashed, "hashes": {name: tuple(bits.split()) for name, bits in hashed["hashes"].items()}})
                for hashed in read["pictures"]
            ),
        )


def hash_picture(found: Found, algorithms: Iterable[ImageAlgorithm] = IMAGE_ALGORITHMS) -> Hashed:
    """Decode a picture with Pillow and hash its parts."""
    picture = found.picture
    pieces = list(parts(open_picture(picture.path, found.data)))
    return Hashed(
        picture.package,
        found.version,
        picture.path,
        hashlib.sha256(found.data).hexdigest(),
        {name: tuple(image_hash(piece, name).hex for piece in pieces) for name in algorithms},
    )


def versions() -> dict[str, str]:
    """What decoded and hashed the pictures."""
    return {"python": sys.version.split()[0], "pillow": PIL.__version__}
