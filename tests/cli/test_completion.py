"""Completion in a shell, and ``--version``."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import crynux_validate
from crynux_validate.cli import main

BASH = shutil.which("bash")


def test_version_names_what_decides_bits(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"crynux-validate {crynux_validate.__version__}"
    assert lines[1].startswith(f"Python {sys.version.split()[0]} ")
    assert {line.split()[0] for line in lines[3:]} >= {"torch", "diffusers", "transformers", "numpy", "Pillow"}


def test_version_imports_nothing_heavy() -> None:
    program = (
        "import sys; from crynux_validate.cli import main\n"
        "try: main(['--version'])\nexcept SystemExit: pass\n"
        "assert not {'torch', 'diffusers', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)


@pytest.mark.skipif(BASH is None, reason="bash is not installed")
@pytest.mark.parametrize(
    ("typed", "wanted", "unwanted"),
    [
        (["ju"], {"judge"}, {"hash"}),
        (["hash", "--back"], {"--background"}, {"--json"}),
        (["ledger", "ver"], {"verify"}, {"show"}),
        (["run", "--out", "fol"], {"folder"}, {"folio.txt"}),
        (["judge", "fol"], {"folder", "folio.txt"}, set()),
    ],
)
def test_bash_completes(
    typed: list[str], wanted: set[str], unwanted: set[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("shtab")
    assert main(["completion", "bash"]) == 0
    (tmp_path / "script").write_text(capsys.readouterr().out)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folio.txt").touch()
    words = " ".join(["crynux-validate", *typed])
    program = f"""
        source ./script
        COMP_WORDS=({words}); COMP_CWORD={len(typed)}
        $(complete -p crynux-validate | sed 's/.*-F \\([^ ]*\\).*/\\1/') 2>/dev/null
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = subprocess.run([str(BASH), "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    found = {line.strip() for line in done.stdout.splitlines()}
    assert wanted <= found, done.stderr
    assert not unwanted & found


def test_without_the_extra_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert main(["completion", "zsh"]) == 2
    assert "pip install 'crynux-validate[completion]'" in capsys.readouterr().err
