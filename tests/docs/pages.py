"""The documentation's pages, and what is in them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = (
    ROOT / "README.md",
    *(ROOT / name for name in ("CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")),
    ROOT / "convert/bokeh_convert/demo/MODEL_CARD.md",
    ROOT / "convert/bokeh_convert/demo/STUDENT_CARD.md",
    *sorted((ROOT / "docs").glob("*.md")),
)
_FENCE = re.compile(r"^```(?P<language>\w*)\n(?P<code>.*?)^```$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A fenced block of code.

    Attributes:
        page: Path of the page, from the repository's root.
        line: Of the page, where the code starts.
        language: As the fence names it.
        code: The text.
    """

    page: str
    line: int
    language: str
    code: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks(language: str) -> list[Block]:
    """The blocks of a language in all pages."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for match in _FENCE.finditer(text):
            if match["language"] == language:
                line = text.count("\n", 0, match.start("code")) + 1
                name = page.relative_to(ROOT).as_posix()
                found.append(Block(name, line, language, match["code"]))
    return found


def without_code(text: str) -> str:
    """A page without its fenced blocks and code in lines."""
    return re.sub(r"`[^`\n]*`", "``", _FENCE.sub("", text))
