"""What the page of a benchmark is asked."""

from __future__ import annotations

import json
from pathlib import Path

from bokeh_bench.devices.web.request import WebRequest
from bokeh_bench.measure.cases import benchmark_matrix, read_model_under_test
from bokeh_bench.measure.references import FullModelReferences
from bokeh_runtime.shipped_models import shipped_model
from helpers.schemas import check_format


def test_a_request_is_of_its_schema_and_gpus_have_a_row_for_each_precision(data: Path) -> None:
    paths = [shipped_model(), data / "small_full-integer.tflite"]
    full_model = FullModelReferences(None, None, None, lambda _: None)
    models = {path: read_model_under_test(path, full_model) for path in paths}
    cases = benchmark_matrix(paths, ["cpu", "gpu"], [1, 2])
    request = WebRequest.of(cases, models, runs=5, seconds=1.0)
    asked = json.loads(request.files["request.json"])
    check_format(asked)
    rows = [(row["delegate"], row["threads"], row["precision"]) for row in asked["rows"][:4]]
    assert rows == [
        ("cpu", 1, "float32"),
        ("cpu", 2, "float32"),
        ("gpu", None, "float32"),
        ("gpu", None, "default"),
    ]
    photos = len(models[paths[0]].reference_samples)
    assert photos > 0
    assert request.rows[0].outputs_bytes == photos * 256 * 384 * 3 * 4
    described = asked["models"][paths[0].name]
    assert request.files[described["file"]] == paths[0].read_bytes()
    inputs = asked["inputs"][paths[0].name]
    assert len(request.files[inputs["file"]]) == photos * 256 * 384 * 3
