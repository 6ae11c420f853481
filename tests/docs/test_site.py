"""The documentation as a site."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from docs.pages import ROOT


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "-d", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.slow
def test_it_has_the_pages_of_the_repository(site: Path) -> None:
    for page, words in (
        ("security.html", "Reporting"),
        ("contributing.html", "Imports point one way"),
        ("changelog.html", "Semantic Versioning"),
        ("model-card.html", "held-out"),
    ):
        assert words in (site / page).read_text(encoding="utf-8")
    assert not list(site.rglob("*.py"))


@pytest.mark.slow
def test_it_loads_nothing_from_the_network(site: Path) -> None:
    loads = re.compile(r"<(?:script|img|link|iframe)\b[^>]*(?:src|href)=\"?(?:https?:)?//[^\s>]*")
    outside = [
        (page.name, found)
        for page in site.rglob("*.html")
        for found in loads.findall(page.read_text(encoding="utf-8"))
        if "rel=canonical" not in found
    ]
    assert not outside
    styles = "".join(path.read_text(encoding="utf-8") for path in site.rglob("*.css"))
    assert not re.search(r"url\(\"?(?:https?:)?//", styles)
