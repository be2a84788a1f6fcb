"""MkDocs calls this for pages of the site that lie elsewhere, where people look for them: no page is kept twice."""

from __future__ import annotations

from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
# Where they are on the site, and where they lie.
PAGES = {
    "contributing.md": "CONTRIBUTING.md",
    "changelog.md": "CHANGELOG.md",
    "recipes.md": "configs/README.md",
    "performance.md": "benchmarks/RESULTS.md",
}
PICTURES = {
    "pictures/speed.png": "benchmarks/speed.png",
    "pictures/ablations.png": "benchmarks/ablations/ablations.png",
}
# Their links and those that lead to them, as they are written, and on the site.
_LINKS = {
    "](docs/": "](",
    "](../docs/": "](",
    "](speed.png)": "](pictures/speed.png)",
    "](../benchmarks/ablations/ablations.png)": "](pictures/ablations.png)",
    **{f"](../{source})": f"]({page})" for page, source in PAGES.items()},
    **{f"](../../{source})": f"](../{page})" for page, source in PAGES.items()},
}
_COST = "\n## Cost over size\n\n![Seconds and memory over pixels](pictures/cost.png)\n"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the files that lie outside of docs/."""
    for page, source in (PAGES | PICTURES).items():
        if not (ROOT / source).is_file():  # a benchmark that was not run has no picture, and no page shows it
            continue
        files.append(File.generated(config, page, abs_src_path=str(ROOT / source)))
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Links lead to where the pages are on the site."""
    for written, there in _LINKS.items():
        markdown = markdown.replace(written, there)
    return markdown + (_COST if page.file.src_uri == "performance.md" else "")
