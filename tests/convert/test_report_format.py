"""What a conversion writes is of the formats in `bokeh_runtime/contract/schemas`."""

from __future__ import annotations

import json

import pytest
from jsonschema import ValidationError

from bokeh_convert import Conversion
from bokeh_runtime.tflite.file import read_tflite
from bokeh_runtime.tflite.metadata import ENTRY
from helpers.schemas import check_format


@pytest.mark.slow
def test_reports_and_metadata_are_valid(demo_conversions: dict[str, Conversion]) -> None:
    for conversion in demo_conversions.values():
        check_format(json.loads(conversion.report_path.read_text(encoding="utf-8")))
        check_format(json.loads(read_tflite(conversion.path).metadata[ENTRY]))


@pytest.mark.slow
def test_a_report_that_lacks_a_key_is_refused(demo_conversions: dict[str, Conversion]) -> None:
    report = json.loads(demo_conversions["int8"].report_path.read_text(encoding="utf-8"))
    for key in set(report) - {"schema"}:
        with pytest.raises(ValidationError, match=f"'{key}' is a required property"):
            check_format({other: value for other, value in report.items() if other != key})
