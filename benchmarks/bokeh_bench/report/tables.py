"""Markdown tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bokeh_runtime.metrics.grain import METRIC as GRAIN


def grain_cells(mean: float | None, worst: float | None) -> tuple[str, str]:
    """Returns the cells of the mean and the worst grain; empty for older figures without grain."""
    if mean is None or worst is None:
        return "", ""
    return GRAIN.text(mean), GRAIN.text(worst)


def markdown_table(
    headings: Sequence[str], rows: Iterable[Sequence[str]], *, text_columns: int = 1
) -> str:
    """Returns a Markdown table, without the columns that are empty in every row.

    Args:
        headings: One for each column.
        rows: The cells of each row, as many as there are headings.
        text_columns: How many columns, from the left, hold text; the others hold figures and are
            aligned to the right.

    Raises:
        ValueError: If a row has more or fewer cells than there are headings.
    """
    alignment = ["---"] * text_columns + ["---:"] * (len(headings) - text_columns)
    cells = [list(row) for row in rows]
    for row in cells:
        if len(row) != len(headings):
            raise ValueError(f"{len(row)} cells under {len(headings)} headings: {row}")
    shown = [i for i in range(len(headings)) if not cells or any(row[i] for row in cells)]
    return "\n".join(
        "| " + " | ".join(line[i].replace("|", "\\|") for i in shown) + " |"
        for line in (headings, alignment, *cells)
    )
