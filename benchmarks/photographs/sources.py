"""The photographs and drawn wallpapers that packages carry, and where they lie.

Photographs: all of these packages, of at least 256 pixels a side, each scene once: no scans of text, no second view of
a scene, no picture that another of the packages has too. Drawings: all other wallpapers of these Debian packages, each
once (the light one of two), without those that are transparent.
"""

import gzip
import importlib.metadata
import io
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np
from PIL import Image

Kind = Literal["python", "debian"]

_BACKGROUNDS: Final = "usr/share/backgrounds"
_PLASMA: Final = "usr/share/wallpapers"

_PHOTOGRAPHS_IN_PYTHON: Final = {
    "scikit-image": [
        f"skimage/data/{name}"
        for name in (
            "astronaut.png", "brick.png", "camera.png", "cell.png", "chelsea.png", "clock_motion.png", "coffee.png",
            "coins.png", "grass.png", "gravel.png", "hubble_deep_field.jpg", "ihc.png", "moon.png",
            "motorcycle_left.png", "retina.jpg", "rocket.jpg",
        )
    ],
    "scikit-learn": ["sklearn/datasets/images/china.jpg", "sklearn/datasets/images/flower.jpg"],
    "matplotlib": ["matplotlib/mpl-data/sample_data/grace_hopper.jpg"],
    "PyWavelets": ["pywt/data/aero.npz", "pywt/data/ascent.npz"],
    "imgaug": ["imgaug/quokka.jpg"],
}  # fmt: skip

_PHOTOGRAPHS_IN_DEBIAN: Final = {
    "lomiri-wallpapers-16.04": [
        f"{_BACKGROUNDS}/{name}.jpg"
        for name in (
            "Bridge_by_Sander_Klootwijk", "Dragonfly_by_Bolly", "Picture_0B_by_freespace", "Picture_1A_by_freespace",
            "Wine_by_Jakkub_Mede", "aitzgorri_by_Aitzol_Berasategi", "free_by_Peter_Nerlich",
            "friends_by_Aitzol_Berasategi", "greentock_by_Peter_Nerlich", "life_by_Aitzol_Berasategi",
            "picosdeeuropa_by_Aitzol_Berasategi", "seeding_by_Clements_Engelhardt", "sunset_by_Aitzol_Berasategi",
        )
    ],
    "mate-backgrounds": [
        f"{_BACKGROUNDS}/mate/nature/{name}.jpg"
        for name in (
            "Aqua", "Blinds", "Dune", "FreshFlower", "Garden", "GreenMeadow", "LadyBird", "RainDrops", "Storm",
            "TwoWings", "Wood", "YellowFlower",
        )
    ],
    "plasma-workspace-wallpapers": [
        f"{_PLASMA}/{name}/contents/images/2560x1600.jpg"
        for name in (
            "BytheWater", "ColdRipple", "ColorfulCups", "DarkestHour", "EveningGlow", "FallenLeaf", "Grey", "Kite",
            "OneStandsOut", "Path", "summer_1am",
        )
    ],
}  # fmt: skip


_DRAWINGS_IN_DEBIAN: Final = {
    "lomiri-wallpapers-16.04": [
        f"{_BACKGROUNDS}/{name}_by_{author}.jpg"
        for name, author in (("analogpattern", "Peter_Nerlich"), ("umang", "Abhishek_Mudgal"))
    ],
    "mate-backgrounds": [
        f"{_BACKGROUNDS}/mate/{name}"
        for name in (
            "abstract/Elephants.jpg", "desktop/Float-into-MATE.png", "desktop/GreenTraditional.jpg",
            "desktop/Ubuntu-Mate-Cold-no-logo.png",
        )
    ],
    "plasma-workspace-wallpapers": [
        f"{_PLASMA}/{name.replace('/', '/contents/images/')}"
        for name in (
            "Altai/5120x2880.png", "Autumn/2560x1600.jpg", "Canopee/3840x2160.png", "Cascade/3840x2160.png",
            "Cluster/3840x2160.png", "Elarun/2560x1600.png", "Flow/5120x2880.jpg", "FlyingKonqui/2560x1600.png",
            "Honeywave/5120x2880.jpg", "IceCold/5120x2880.png", "Kay/5120x2880.png", "Kokkini/3840x2160.png",
            "MilkyWay/5120x2880.png", "Opal/3840x2160.png", "PastelHills/3200x2000.jpg", "SafeLanding/5120x2880.jpg",
            "Shell/5120x2880.jpg", "Volna/5120x2880.jpg",
        )
    ],
    "gnome-backgrounds": [
        f"{_BACKGROUNDS}/gnome/{name}-l.webp"
        for name in ("adwaita", "grid", "licorice", "pixels", "symbolic", "truchet", "vnc", "wood")
    ],
    "ukui-wallpapers": [
        f"{_BACKGROUNDS}/{name}"
        for name in (
            "2004default.jpg", "calla.png", "city.png", "desert.png", "firstgeneration.jpg", "fluent-color.png",
            "focal-ubuntukylin.png", "goldfish.png", "rhythm.jpg", "rollpaper.png", "string.jpg", "the-mouse.jpg",
        )
    ],
}  # fmt: skip


@dataclass(frozen=True)
class Picture:
    """A picture in a package; `path` is relative to where the package's files lie."""

    package: str
    path: str
    kind: Kind


def _pictures(packages: Mapping[str, list[str]], kind: Kind) -> tuple[Picture, ...]:
    return tuple(Picture(package, path, kind) for package, paths in packages.items() for path in paths)


SETS: Final[Mapping[str, tuple[Picture, ...]]] = {
    "photographs": _pictures(_PHOTOGRAPHS_IN_PYTHON, "python") + _pictures(_PHOTOGRAPHS_IN_DEBIAN, "debian"),
    "drawings": _pictures(_DRAWINGS_IN_DEBIAN, "debian"),
}


@dataclass(frozen=True)
class Found:
    """A picture that is here: the version of its package, and its bytes."""

    picture: Picture
    version: str
    data: bytes


@dataclass(frozen=True)
class Missing:
    """A picture that is not here, and what to do."""

    picture: Picture
    reason: str


def find(pictures: Iterable[Picture], debian: Path) -> Iterator[Found | Missing]:
    """Look for each picture.

    Parameters
    ----------
    pictures
        One of `SETS`.
    debian
        Where Debian packages are unpacked: ``/`` where they are installed, or a folder for ``dpkg-deb -x``.
    """
    for picture in pictures:
        if picture.kind == "python":
            yield _in_python(picture)
        else:
            yield _in_debian(picture, debian)


def _in_python(picture: Picture) -> Found | Missing:
    try:
        package = importlib.metadata.distribution(picture.package)
    except importlib.metadata.PackageNotFoundError:
        return Missing(picture, f"{picture.package} is not installed: pip install {picture.package}")
    path = Path(str(package.locate_file(picture.path)))
    if not path.is_file():
        return Missing(picture, f"{picture.package} {package.version} has no such file")
    return Found(picture, package.version, path.read_bytes())


def _in_debian(picture: Picture, root: Path) -> Found | Missing:
    path = root / picture.path
    if not path.is_file():
        return Missing(picture, f"not below {root}: apt-get download {picture.package}, see --help")
    changes = root / "usr/share/doc" / picture.package / "changelog.Debian.gz"
    version = re.search(r"\((.+?)\)", gzip.decompress(changes.read_bytes()).decode()) if changes.is_file() else None
    return Found(picture, version[1] if version else "unknown", path.read_bytes())


def open_picture(path: str, data: bytes) -> Image.Image:
    """Decode a file: the pixels of a picture without transparency, or the one array of an ``.npz`` file."""
    if path.endswith(".npz"):
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            (array,) = arrays.values()
        return Image.fromarray(array)
    image = Image.open(io.BytesIO(data))
    image.load()
    if image.mode == "RGBA" and image.getchannel("A").getextrema() == (255, 255):
        return image.convert("RGB")
    return image


def parts(image: Image.Image) -> Iterator[Image.Image]:
    """Cut a picture into 2x2, 3x3 and 4x4 parts, row by row: 29 parts, none of them made smaller or larger."""
    width, height = image.size
    for count in (2, 3, 4):
        for row in range(count):
            for column in range(count):
                yield image.crop(
                    (
                        column * width // count, row * height // count,
                        (column + 1) * width // count, (row + 1) * height // count,
                    )
                )  # fmt: skip
