"""A hook of mkdocs: the changelog, which lies beside the docs, is a page of the site."""

from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add the page."""
    changelog = Path(config.config_file_path or ".").with_name("CHANGELOG.md")
    files.append(File.generated(config, "changelog.md", content=changelog.read_text("utf-8")))
    return files
