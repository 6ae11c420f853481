"""The links between pages, and from pages to the repository's files."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from docs.pages import PAGES, ROOT, without_code

_LINK = re.compile(r"!?\[[^\]]*\]\((?P<target>[^)\s]+)\)")


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as web sites of repositories and mkdocs make them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    plain = [re.sub(r"[^\w\s-]", "", heading.lower()).strip() for heading in headings]
    return {re.sub(r"\s+", "-", heading) for heading in plain}


def broken(page: Path, text: str) -> list[str]:
    """The links in a page's text that lead nowhere."""
    found = []
    for link in _LINK.finditer(without_code(text)):
        target, _, anchor = link["target"].partition("#")
        if re.match(r"(https|mailto):", target):
            continue
        path = (page.parent / target).resolve() if target else page
        inside = path.is_relative_to(ROOT) and path.exists()
        if not inside or (anchor and anchor not in anchors(path)):
            found.append(link["target"])
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    assert not broken(page, page.read_text(encoding="utf-8"))


def test_a_broken_link_is_found() -> None:
    page = ROOT / "docs" / "index.md"
    text = "[a](conversion.md) [b](none.md) [c](conversion.md#sources) [d](conversion.md#none) "
    assert broken(page, text + "[e](../../x) [f](http://x)") == [
        *("none.md", "conversion.md#none", "../../x", "http://x")
    ]


def test_the_readme_links_every_page_by_task() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    reference = {"docs/android-benchmark.md", "docs/contract.md"}
    pages = {f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md")} - reference
    assert {page for page in pages if f"]({page})" not in readme} == set()
