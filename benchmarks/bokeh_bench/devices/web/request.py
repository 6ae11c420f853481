"""What the page of a benchmark is asked to measure, and the files that it loads for it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bokeh_bench.measure.cases import WARM_UP_SECONDS, BenchmarkCase, ModelUnderTest
from bokeh_bench.measure.rows import Row
from bokeh_runtime.tflite.value_range import ValueRange
from bokeh_runtime.web.site import tensor_info

REQUEST_SCHEMA = "bokeh-tflite/web-request/1"


@dataclass(frozen=True)
class WebRow:
    """A row that every browser measures.

    Attributes:
        case: The model, the delegate and the number of threads.
        precision: "float32", or "default" where the browser may compute in half precision.
        outputs_bytes: Size of what it must upload; 0 without reference photos.
    """

    case: BenchmarkCase
    precision: str
    outputs_bytes: int

    def empty(self, model: ModelUnderTest, label: str) -> Row:
        """Returns the row without results.

        Args:
            model: The model of the case.
            label: Name of the browser.
        """
        device = f"{label}, fp16" if self.precision == "default" else label
        return Row(model.summary, self.case.delegate, self.case.threads, device=device)


@dataclass(frozen=True)
class WebRequest:
    """A request and its files.

    Attributes:
        rows: What to measure, in this order.
        models: The models by their paths.
        files: Contents and paths of what the page loads, by their names on the site.
    """

    rows: Sequence[WebRow]
    models: Mapping[Path, ModelUnderTest]
    files: Mapping[str, Path | bytes]

    @staticmethod
    def of(
        cases: Sequence[BenchmarkCase],
        models: Mapping[Path, ModelUnderTest],
        runs: int,
        seconds: float,
    ) -> WebRequest:
        """Returns the request for a list of cases.

        GPUs and NPUs have two rows for each case: in float32, and with half precision allowed.
        """
        rows = [
            WebRow(case, precision, 4 * int(np.prod(_output_shape(models[case.model]))))
            for case in cases
            for precision in (
                ("float32", "default") if case.delegate in ("gpu", "npu") else ("float32",)
            )
        ]
        data: dict[str, Any] = {
            "schema": REQUEST_SCHEMA,
            "min_runs": runs,
            "min_seconds": seconds,
            "max_warm_up_seconds": WARM_UP_SECONDS,
            "rows": [
                {
                    "model": row.case.model.name,
                    "delegate": row.case.delegate,
                    "threads": row.case.threads if row.case.delegate in ("cpu", "auto") else None,
                    "precision": row.precision,
                }
                for row in rows
            ],
            "models": {},
            "inputs": {},
        }
        files: dict[str, Path | bytes] = {}
        for number, (path, model) in enumerate(models.items()):
            # Not the files' names, which may hold anything.
            data["models"][path.name] = _model(model, f"models/{number}.tflite")
            files[f"models/{number}.tflite"] = model.file.content
            if model.reference_samples:
                pixels = np.stack([sample.network_input for sample in model.reference_samples])
                data["inputs"][path.name] = {
                    "file": f"inputs/{number}.u8",
                    "shape": list(pixels.shape),
                }
                files[f"inputs/{number}.u8"] = pixels.tobytes()
        files["request.json"] = json.dumps(data, indent=1).encode()
        return WebRequest(rows, models, files)


def _model(model: ModelUnderTest, name: str) -> dict[str, Any]:
    file = model.file
    return {
        "file": name,
        "input": tensor_info(file.tensors[file.inputs[0]]),
        "output": tensor_info(file.tensors[file.outputs[file.image_output_index]]),
        "output_index": file.image_output_index,
        "input_range": _ends(model.ranges.input),
        "total_ops": len(file.operators),
    }


def _ends(values: ValueRange) -> list[float]:
    return [values.low, values.high]


def _output_shape(model: ModelUnderTest) -> tuple[int, ...]:
    """Shape of all outputs: photos, height, width, channels; 0 photos without a reference."""
    file = model.file
    shape = file.tensors[file.outputs[file.image_output_index]].shape
    return (len(model.reference_samples), *shape[1:])
