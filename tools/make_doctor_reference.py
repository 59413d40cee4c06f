"""Write what this machine computes of the tasks of an examination: ``python -m tools.make_doctor_reference``.

Run it again only where the tasks of `crynux_validate.doctor.work` change.
"""

import json
import tempfile
from pathlib import Path

import crynux_validate as cv
from crynux_validate.doctor import work
from crynux_validate.doctor.examining import PACKAGES, REFERENCE, version

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        found = work.computed(Path(folder), "cpu")
    machine = f"{cv.local_gpu('cpu').name} with torch {version('torch')}"
    written = {
        "machine": machine,
        "versions": {name: version(name) for name in PACKAGES},
        "hash": found["hash"],
        "token_ids": found["token_ids"],
    }
    REFERENCE.write_text(json.dumps(written, indent=1) + "\n", "utf-8")
