"""Writes the tables of figures in the documentation from the JSON files of `docs/figures`.

A table stands between two comments, `<!-- figures: NAME -->` and `<!-- end figures -->`, and comes
from `docs/figures/NAME.json`, which `make figures/NAME` measures. Run in a checkout:

    python -m bokeh_bench.doc_tables README.md docs/*.md
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

# The studies are imported late: some of them need TensorFlow, which takes seconds.
from bokeh_bench.code_digest import code_digests
from bokeh_bench.report.tables import grain_cells, markdown_table
from bokeh_runtime.errors import InputError
from bokeh_runtime.metrics.psnr import psnr_text

FOLDER = Path("docs/figures")
MARKER = re.compile(
    r"(?P<start><!-- figures: (?P<name>[a-z0-9-]+) -->\n).*?(?P<end><!-- end figures -->)",
    re.DOTALL,
)
_RUNTIME = tuple(f"bokeh_runtime/{part}" for part in ("backends", "metrics", "tflite"))
_CONVERT = tuple(
    f"bokeh_convert/{part}"
    for part in ("data", "demo", "graph", "passes", "pynet", "quantize", "sources", "stages")
)

Data = Mapping[str, Any]


@dataclass(frozen=True)
class Figures:
    """A table of the documentation.

    Attributes:
        render: Makes the Markdown from the JSON data.
        measures: The sub-packages whose code the figures depend on, keys of `code_digests`.
    """

    render: Callable[[Data], str]
    measures: Sequence[str]


def _shipped_models(data: Data) -> str:
    rows = [row for row in data["rows"] if not row["failure"]]
    failed = [f"{row['name']} failed: {row['failure']}" for row in data["rows"] if row["failure"]]
    table = markdown_table(
        (
            *("model", "delegate", "threads", "latency", "peak memory"),
            *("PSNR mean", "worst", "SSIM", "grain mean", "worst"),
        ),
        [
            (
                row["model"]["name"],
                row["delegate"],
                str(row["threads"] or "all"),
                f"{row['latency']['latency_ms']:.1f} ms",
                f"{row['peak_rss_bytes'] / 1e6:.0f} MB",
                *_fidelity_cells(row),
            )
            for row in rows
        ],
        text_columns=2,
    )
    return "\n\n".join([table, *failed])


def _instructions(data: Data) -> str:
    """Renders counted instructions, as multiples of the first model's."""
    rows = [row for row in data["rows"] if row["instructions"]]
    first = rows[0]["instructions"]
    return markdown_table(
        ("model", "CPU", "instructions", "of the first model's", "PSNR mean", "worst"),
        [
            (
                row["model"]["name"],
                row["device"].removeprefix("arm64:"),
                f"{row['instructions'] / 1e6:.0f} million",
                f"{row['instructions'] / first:.3f}",
                *_fidelity_cells(row)[:2],
            )
            for row in rows
        ],
        text_columns=2,
    )


def _fidelity_cells(row: Data) -> tuple[str, ...]:
    for found in row["fidelity"]:
        if (found["vs"], found["protocol"]) == ("full_model", "full"):
            mean, worst = (psnr_text(found[f"psnr_db_{which}"]) for which in ("mean", "worst"))
            grain = grain_cells(found.get("grain_mean"), found.get("grain_worst"))
            return mean, worst, f"{found['ssim_mean']:.4f}", *grain
    return "", "", "", "", ""


def _agreement(data: Data) -> str:
    from bokeh_bench.measure.latency import LatencyRatio
    from bokeh_bench.studies import agreement

    return "\n\n".join(
        agreement.table(
            agreement.Agreement(
                LatencyRatio(**row["to_bare_loop"]),
                LatencyRatio(**row["to_litert"]),
                row["runs"],
                row["rounds"],
            )
        )
        for row in data["rows"]
    )


def _conversion(data: Data) -> str:
    from bokeh_bench.studies import conversion

    return conversion.table([conversion.Row(**row) for row in data["rows"]])


def _gpu(data: Data) -> str:
    from bokeh_bench.studies import gpu

    return gpu.table([gpu.GpuRow(**row) for row in data["rows"]])


def _npu(data: Data) -> str:
    from bokeh_bench.measure.latency import LatencyRatio
    from bokeh_bench.studies import npu, openvino

    rows = [npu.NpuRow(**row) for row in data["rows"]]
    others = [
        openvino.OpenVinoRow(
            **{**row, "ratio": None if row["ratio"] is None else LatencyRatio(**row["ratio"])}
        )
        for row in data["openvino"]
    ]
    tables = [npu.table(rows), *([openvino.table(others)] if others else [])]
    return "\n\n".join(tables)


def _detail_fusion(data: Data) -> str:
    from bokeh_bench.studies import detail_fusion

    return detail_fusion.table([detail_fusion.FusionRow(**row) for row in data["rows"]])


def _rendering(data: Data) -> str:
    from bokeh_bench.studies import rendering

    rows = [rendering.RenderingRow(**row) for row in data["rows"]]
    kept = [rendering.KeptRow(**row) for row in data["kept"]]
    return f"{rendering.table(rows)}\n\n{rendering.kept_table(kept)}"


def _web(data: Data) -> str:
    from bokeh_bench.studies import web

    rows = [web.WasmRow(**row) for row in data["rows"]]
    return web.table(rows, web.LoadRow(**data["load"][0]))


def _input_noise(data: Data) -> str:
    from bokeh_bench.studies import input_noise

    return input_noise.table([input_noise.NoiseRow(**row) for row in data["rows"]])


def _students(data: Data) -> str:
    from bokeh_bench.studies import students

    return students.table([students.StudentRow(**row) for row in data["rows"]])


_CONVERSION = Figures(_conversion, (*_RUNTIME, *_CONVERT))
_AGREEMENT = Figures(_agreement, ("bokeh_bench/measure", "bokeh_bench/workers"))
FIGURES = {
    "shipped-models": Figures(_shipped_models, (*_RUNTIME, "bokeh_bench/measure")),
    "agreement-float16": _AGREEMENT,
    "agreement-int8": _AGREEMENT,
    "conversion": _CONVERSION,
    "conversion-arm64": _CONVERSION,
    "conversion-quarter": _CONVERSION,
    "conversion-quarter-arm64": _CONVERSION,
    "conversion-full": _CONVERSION,
    "rendering": Figures(_rendering, (*_RUNTIME, "bokeh_runtime/*.py", "bokeh_runtime/imaging")),
    "detail-fusion": Figures(_detail_fusion, ("bokeh_runtime/imaging", "bokeh_runtime/metrics")),
    "npu": Figures(_npu, (*_RUNTIME, *_CONVERT, "bokeh_convert/npu")),
    "web": Figures(_web, ("bokeh_runtime/web", "bokeh_bench/measure")),
    "student": Figures(_shipped_models, (*_RUNTIME, *_CONVERT, "bokeh_bench/measure")),
    "student-arm64": Figures(_instructions, (*_RUNTIME, *_CONVERT)),
    "input-noise": Figures(_input_noise, _RUNTIME),
    "students": Figures(_students, ("bokeh_convert/pynet", "bokeh_convert/train")),
    "gpu": Figures(_gpu, (*_RUNTIME, *_CONVERT)),
}
"""By the names of their JSON files."""


def render(name: str, folder: Path = FOLDER) -> str:
    """Returns the Markdown of a table: the figures and how they were measured.

    Raises:
        InputError: If no such table is known, or its file is damaged or of another version.
    """
    if name not in FIGURES:
        raise InputError(f"figures: {name}: no such table; there are {', '.join(FIGURES)}")
    data = _read(name, folder)
    if data is None:
        return f"Not measured yet. `make figures/{name}` measures this table."
    try:
        return f"{FIGURES[name].render(data)}\n\n{_origin(data, name)}"
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{folder / name}.json: not of this version ({error}); run: make figures/{name}"
        ) from error


def fill(text: str, folder: Path = FOLDER) -> str:
    """Returns a Markdown page with its tables written anew from the JSON files.

    Raises:
        InputError: See `render`.
    """
    return MARKER.sub(
        lambda found: f"{found['start']}\n{render(found['name'], folder)}\n\n{found['end']}", text
    )


def changed_code(name: str, folder: Path = FOLDER) -> list[str]:
    """Returns the sub-packages that have changed since a table was measured; [] if it was not."""
    data = _read(name, folder)
    if data is None:
        return []
    measured, now = data["environment"].get("code", {}), code_digests()
    return [part for part in FIGURES[name].measures if measured.get(part) != now[part]]


def _read(name: str, folder: Path) -> dict[str, Any] | None:
    path = folder / f"{name}.json"
    if not path.exists():
        return None
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path}: is no JSON ({error}); run: make figures/{name}") from error
    if not isinstance(data, dict) or not isinstance(data.get("environment"), dict):
        raise InputError(f"{path}: no report of a measurement; run: make figures/{name}")
    return data


def _origin(data: Data, name: str) -> str:
    """Returns where and when the figures were measured, in a sentence."""
    environment = data["environment"]
    tools = environment["tools"]
    versions = [
        f"{tool} {tools[tool]}" for tool in ("ai-edge-litert", "tensorflow") if tool in tools
    ]
    return (
        f"Measured on {data['created'][:10]} with {environment['cores']} cores of "
        f"{environment['cpu']}, Python {environment['python']}, {', '.join(versions)} "
        f"(`docs/figures/{name}.json`)."
    )


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("pages", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--check", is_flag=True, help="Write nothing; exit with 1 if a page would change.")
def main(pages: Sequence[Path], check: bool) -> None:
    """Write the tables of figures in Markdown PAGES from the JSON files of docs/figures."""
    changed = []
    try:
        for page in pages:
            text = page.read_text(encoding="utf-8")
            new = fill(text)
            if new != text:
                changed.append(str(page))
                if not check:
                    page.write_text(new, encoding="utf-8")
    except (InputError, OSError) as error:
        raise click.UsageError(str(error)) from error
    click.echo("\n".join(changed) or "every table is up to date", err=True)
    if check and changed:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
