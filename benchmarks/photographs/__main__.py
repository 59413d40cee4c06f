"""Hash the photographs that packages carry, count, print: ``python -m benchmarks.photographs``.

Python packages are found where they are installed: ``pip install 'crynux-validate[photographs]'``. Debian packages are
found where they are installed, or, with --debian, in a folder into which they were unpacked:

    apt-get download lomiri-wallpapers-16.04 mate-backgrounds plasma-workspace-wallpapers
    for file in *.deb; do dpkg-deb -x "$file" FOLDER; done

``--set drawings`` takes drawn wallpapers instead, and needs gnome-backgrounds and ukui-wallpapers too. A picture that
is missing, or that is another file than in the shipped record, is named; the tables are of those that are here. It
takes half a minute.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.photographs.record import Hashed, Record, hash_picture, shipped, versions
from benchmarks.photographs.sources import SETS, Missing, find
from benchmarks.photographs.tables import tables, upper_ends


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure or read, then print; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.photographs", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--set", choices=SETS, default="photographs", help="which pictures; default: %(default)s")
    parser.add_argument("--debian", type=Path, default=Path("/"), metavar="FOLDER", help="unpacked Debian packages")
    parser.add_argument("--shipped", action="store_true", help="hash nothing: take the shipped record of the set")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the record: files, versions, hashes")
    options = parser.parse_args(arguments)
    record = shipped(options.set) if options.shipped else measure(options.set, options.debian)
    if len(record.pictures) < 2:
        print("fewer than two pictures: nothing to compare", file=sys.stderr)
        return 2
    if options.json:
        options.json.write_text(record.to_json() + "\n", "utf-8")
    print(f"{len(record.pictures)} of {len(SETS[options.set])} {options.set}; {record.versions}\n")
    print("\n".join(tables(record)))
    print("\nUpper ends, the larger of both hashes, below 2, 4, ..., 64:", *upper_ends(record))
    return 0


def measure(name: str, debian: Path) -> Record:
    """Hash what is here of a set, and name what is missing and what differs from the shipped record."""
    known = {hashed.path: hashed for hashed in shipped(name).pictures}
    hashed: list[Hashed] = []
    missing: dict[str, list[str]] = {}
    for found in find(SETS[name], debian):
        if isinstance(found, Missing):
            missing.setdefault(found.reason, []).append(found.picture.path)
            continue
        hashed.append(new := hash_picture(found))
        old = known.get(new.path)
        if old is None or old.sha256 != new.sha256:
            print(f"another file than in the record: {new.path} of {new.package} {new.version}", file=sys.stderr)
        elif old.hashes != new.hashes:
            print(f"other hashes than in the record: {new.path}, with {versions()}", file=sys.stderr)
    for reason, paths in missing.items():
        print(f"{len(paths)} missing, {reason}", *paths, sep="\n    ", file=sys.stderr)
    return Record(versions(), tuple(hashed))


if __name__ == "__main__":
    sys.exit(main())
