"""The schemas are valid, and what is written is valid by them."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator, ValidationError

from bokeh_bench.devices.android import measure as android
from bokeh_bench.devices.web import request as web
from bokeh_bench.measure import rows
from bokeh_convert import report
from bokeh_runtime import render_run
from bokeh_runtime.contract import load, load_schema
from bokeh_runtime.shipped_models import SHIPPED_MODELS, shipped_model
from bokeh_runtime.tflite import metadata
from bokeh_runtime.tflite.file import read_tflite
from bokeh_runtime.tflite.metadata import read_metadata
from helpers.schemas import NAMES, check_format

DATA = Path(__file__).parents[1] / "data"
MODELS = [
    *(DATA / f"small_{scheme}.tflite" for scheme in ("float32", "float16", "int8", "full-integer")),
    DATA / "small_rgbd.tflite",
    *(DATA / f"range_{name}.tflite" for name in ("signed", "bytes", "bytes_to_unit", "luminance")),
    *(shipped_model(name) for name in SHIPPED_MODELS),
]
WRITTEN = (
    metadata.SCHEMA,
    metadata.SCHEMA_2,
    android.REQUEST_SCHEMA,
    android.STATUS_SCHEMA,
    android.RESULT_SCHEMA,
    web.REQUEST_SCHEMA,
    rows.SCHEMA,
    report.SCHEMA,
    render_run.SCHEMA,
)


def entry(path: Path) -> dict[str, Any]:
    return json.loads(read_tflite(path).metadata[metadata.ENTRY])


@pytest.mark.parametrize("name", NAMES)
def test_a_schema_is_one_and_is_named_like_its_file(name: str) -> None:
    schema = load(f"schemas/{name}")
    Draft202012Validator.check_schema(schema)
    assert schema["$id"] == name
    assert re.fullmatch(r"[a-z-]+-\d+\.json", name)
    if "schema" in schema["properties"]:
        assert load_schema(schema["properties"]["schema"]["const"]) == schema


@pytest.mark.parametrize("schema", WRITTEN)
def test_what_this_version_writes_has_a_schema(schema: str) -> None:
    assert load_schema(schema)["properties"]["schema"] == {"const": schema}


@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.stem)
def test_metadata_is_valid(path: Path) -> None:
    check_format(entry(path))


@pytest.mark.parametrize("key", sorted(set(entry(MODELS[0])) - {"schema"}))
def test_metadata_that_lacks_a_key_is_refused(key: str) -> None:
    lacking = entry(MODELS[0])
    del lacking[key]
    with pytest.raises(ValidationError, match=f"'{key}' is a required property"):
        check_format(lacking)


@pytest.mark.parametrize(
    "changed",
    [
        {"input_height": 0}, {"input_width": "96"}, {"input_channels": "bgr"}, {"scheme": "int4"},
        {"value_range": [0.0]}, {"output_scale": 0}, {"resampling": "lanczos"}, {"unknown": 1},
        {"fidelity": {"vs": "full_model"}}, {"source": {"sha256": "none"}}, {"tools": {"keras": 3}},
    ],
    ids=str,
)  # fmt: skip
def test_metadata_with_a_wrong_value_is_refused(changed: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        check_format({**entry(MODELS[0]), **changed})


def test_the_reader_and_the_schema_know_the_same_keys() -> None:
    known = set(read_metadata(MODELS[0]).__dataclass_fields__)
    assert set(load_schema(metadata.SCHEMA_2)["properties"]) == known
    assert set(load_schema(metadata.SCHEMA)["properties"]) == known - {"output_range"}


RESULT = {
    "schema": android.RESULT_SCHEMA,
    "environment": {},
    "rows": [
        {
            "model": "a.tflite", "delegate": "gpu", "threads": None, "failure": "",
            "placement": {
                "requested": "gpu", "delegate": "gpu", "device": "a GPU", "delegated_ops": 38,
                "total_ops": 38, "unsupported_ops": [], "precision": "default", "notes": [],
            },
            "load_ms": 1.0, "first_inference_ms": 2.0, "warm_up_runs": 2, "runs_ms": [2.0],
            "peak_rss_bytes": None, "temperature_c": None, "outputs": "0.f32",
            "output_shape": [1, 2, 2, 3], "notes": [],
        },
        {"model": "a.tflite", "delegate": "cpu", "threads": 2, "failure": "why"},
    ],
}  # fmt: skip


def test_a_phones_result_is_valid() -> None:
    check_format(RESULT)


@pytest.mark.parametrize(
    "changed",
    [
        {"outputs": "../secret"}, {"outputs": ".."}, {"runs_ms": []}, {"runs_ms": [-1]},
        {"load_ms": None}, {"warm_up_runs": 0.5}, {"delegate": "tpu"}, {"output_shape": [1]},
        {"failure": "but it has times"}, {"placement": {}}, {"temperature_c": ["hot", "cold"]},
        {"placement": {**RESULT["rows"][0]["placement"], "delegated_ops": -1}},
        {"placement": {**RESULT["rows"][0]["placement"], "nodes_placed": 38}},
    ],
    ids=str,
)  # fmt: skip
def test_a_phones_wrong_result_is_refused(changed: dict[str, Any]) -> None:
    wrong = copy.deepcopy(RESULT)
    wrong["rows"][0] |= changed
    with pytest.raises(ValidationError):
        check_format(wrong)


@pytest.mark.parametrize("version", ["bokeh-tflite/android-result/1", "bokeh-tflite/nothing/1"])
def test_an_unknown_format_has_no_schema(version: str) -> None:
    with pytest.raises(FileNotFoundError):
        check_format({**RESULT, "schema": version})


def test_the_examples_in_the_documentation_are_valid() -> None:
    page = (Path(__file__).parents[2] / "docs/android-benchmark.md").read_text(encoding="utf-8")
    blocks = [json.loads(block) for block in re.findall(r"```json\n(.*?)```", page, re.DOTALL)]
    status = re.search(r"`(\{\"schema\".*?\})`", page)
    assert status is not None
    blocks.append(json.loads(status[1]))
    for block in blocks:
        check_format(block)
    shown = {android.REQUEST_SCHEMA, android.STATUS_SCHEMA, android.RESULT_SCHEMA}
    assert {block["schema"] for block in blocks} == shown
