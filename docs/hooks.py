"""Hooks of the site: it has the pictures of `load_tests/results`, which pages name as in the repository."""

from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
IN_REPOSITORY = "../load_tests/results/"
ON_SITE = "images/results/"


def on_files(files: Files, config: Any) -> Files:
    """Add the measured pictures to the site."""
    for picture in sorted((ROOT / "load_tests" / "results").glob("*.png")):
        files.append(File.generated(config, ON_SITE + picture.name, abs_src_path=str(picture)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Name the pictures as the site has them."""
    return markdown.replace(IN_REPOSITORY, ON_SITE)
