"""Markdown tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def markdown_table(
    headings: Sequence[str], rows: Iterable[Sequence[str]], *, text_columns: int = 1
) -> str:
    """Returns a Markdown table.

    Args:
        headings: One for each column.
        rows: The cells of each row, as many as there are headings.
        text_columns: How many columns, from the left, hold text; the others hold figures and are
            aligned to the right.

    Raises:
        ValueError: If a row has more or fewer cells than there are headings.
    """
    alignment = ["---"] * text_columns + ["---:"] * (len(headings) - text_columns)
    lines = []
    for cells in (headings, alignment, *rows):
        if len(cells) != len(headings):
            raise ValueError(f"{len(cells)} cells under {len(headings)} headings: {list(cells)}")
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines)
