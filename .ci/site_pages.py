"""Pages of the site that are files of the repository: README, CONTRIBUTING and CHANGELOG, not copied.

Their links are rewritten for the site. README's are absolute, so that PyPI shows them; within the site they
lead to its own pages, so that the strict build checks them, anchors too.
"""

from __future__ import annotations

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
PAGES = {
    "index.md": "README.md",
    "contributing.md": "CONTRIBUTING.md",
    "changelog.md": "CHANGELOG.md",
}


def page_of(url: str) -> str:
    """The page or file of docs/ behind an address below the site's, such as ``methods/#nct``."""
    path, mark, anchor = url.partition("#")
    page = "index.md" if not path else path.rstrip("/") + ".md" if path.endswith("/") else path
    return page + mark + anchor


def with_pages(text: str, site_url: str) -> str:
    """The Markdown of a file at the root, with links as pages in docs/ have them."""
    absolute = re.compile(rf"\]\({re.escape(site_url)}([^)]*)\)")
    text = absolute.sub(lambda found: f"]({page_of(found[1])})", text)
    return text.replace("](docs/", "](")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages before the navigation is made."""
    for page, source in PAGES.items():
        content = with_pages((ROOT / source).read_text(), str(config.site_url))
        files.append(File.generated(config, page, content=content))
    return files
