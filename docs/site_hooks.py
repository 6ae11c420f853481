"""Hooks of mkdocs: pages from files outside of docs/, links into the repository, old figures."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

from bokeh_bench.doc_tables import MARKER, changed_code

ROOT = Path(__file__).parents[1]
PAGES = {
    "security.md": "SECURITY.md",
    "contributing.md": "CONTRIBUTING.md",
    "changelog.md": "CHANGELOG.md",
    "model-card.md": "convert/bokeh_convert/demo/MODEL_CARD.md",
    "student-card.md": "convert/bokeh_convert/demo/STUDENT_CARD.md",
}
"""Pages of the site that are files of the repository."""
_PAGE_OF = {source: page for page, source in PAGES.items()} | {"README.md": "index.md"}
_LINK = re.compile(r"(?P<text>!?\[[^\]]*\])\((?P<target>[^)\s#]+)(?P<anchor>#[^)\s]*)?\)")


def on_files(files: Any, config: Any) -> Any:
    """Adds the pages that are files of the repository."""
    for page, source in PAGES.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / source)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, **_: Any) -> str:
    """Points links to pages or the repository, and notes which figures are older than the code."""
    source = PAGES.get(page.file.src_uri, f"docs/{page.file.src_uri}")
    folder = posixpath.dirname(source)

    def link(found: re.Match[str]) -> str:
        target = found["target"]
        if re.match(r"[a-z]+:", target):
            return found[0]
        path = posixpath.normpath(posixpath.join(folder, target))
        anchor = found["anchor"] or ""
        if path in _PAGE_OF:
            return f"{found['text']}({_PAGE_OF[path]}{anchor})"
        if path.startswith("docs/"):
            return f"{found['text']}({path.removeprefix('docs/')}{anchor})"
        if not (ROOT / path).exists():
            return found[0]  # mkdocs warns, which is an error in a strict build
        if config.repo_url:
            return f"{found['text']}({config.repo_url.rstrip('/')}/blob/HEAD/{path}{anchor})"
        return found["text"].removeprefix("[").removesuffix("]")

    return MARKER.sub(_noted, _LINK.sub(link, markdown))


def _noted(table: re.Match[str]) -> str:
    changed = changed_code(table["name"], ROOT / "docs/figures")
    if not changed:
        return table[0]
    parts = ", ".join(f"`{part}`" for part in changed)
    return f"{table[0]}\n\n*The code has changed since this was measured: {parts}.*\n"
