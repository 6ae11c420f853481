from __future__ import annotations

import pytest

from bokeh_bench.report.tables import markdown_table


def test_text_is_on_the_left_and_figures_are_on_the_right() -> None:
    assert markdown_table(("a", "b", "c"), [("x", "y", "1")], text_columns=2) == (
        "| a | b | c |\n| --- | --- | ---: |\n| x | y | 1 |"
    )


def test_a_bar_in_a_file_name_ends_no_cell() -> None:
    assert markdown_table(("file",), [("a|b.tflite",)]).splitlines()[-1] == "| a\\|b.tflite |"


def test_a_row_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="1 cells under 2 headings"):
        markdown_table(("a", "b"), [("x",)])


def test_a_column_that_is_empty_in_every_row_is_left_out() -> None:
    shown = markdown_table(("a", "b", "c"), [("x", "", "1"), ("y", "", "")])
    assert shown == "| a | c |\n| --- | ---: |\n| x | 1 |\n| y |  |"
