"""The report as one self-contained HTML file."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import jinja2
import numpy as np
import numpy.typing as npt
from markupsafe import Markup
from PIL import Image

from bokeh_bench.measure.rows import Report, Row, SampleImages
from bokeh_bench.report.console import describe_comparison, footnotes, headings_and_cells
from bokeh_bench.report.plots import distributions, trade_off
from bokeh_runtime.imaging.photo import FloatImage, from_unit
from bokeh_runtime.metrics.fidelity import ImageFidelity
from bokeh_runtime.metrics.psnr import psnr_text
from bokeh_runtime.metrics.registry import all_metrics

AMPLIFICATION = 8
"""Factor by which difference images are amplified to make small errors visible."""
_TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class _Gallery:
    """The images of all rows. Each different image is stored once.

    Attributes:
        images: Data URIs.
        photos: For each photo its name, and the indices of the photo and of the full model's output
            in `images`.
        rows: For each row its name, and for each photo the indices of the output and of the
            difference image, and its metrics as text.
        opens_on: Index of the photo to show first: the one that the full model changes most.
    """

    images: Sequence[str]
    photos: Sequence[dict[str, Any]]
    rows: Sequence[dict[str, Any]]
    opens_on: int


def write_html(path: Path, report: Report) -> None:
    """Writes the report: images with a slider between two of them, table, and plots."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    done = [row for row in report.rows if not row.failure]
    comparison = report.paired_comparison
    headings, cells = headings_and_cells(done)
    text = environment.get_template("report.html").render(
        report=report,
        done=done,
        failed=[row for row in report.rows if row.failure],
        headings=headings,
        cells=cells,
        footnotes=footnotes(done),
        comparison=None if comparison is None else describe_comparison(comparison),
        trade_off=[Markup(svg) for svg in trade_off(done)],
        distributions=[Markup(svg) for svg in distributions(done)],
        gallery=_gallery(done),
        explanations=[
            metric.explanation
            for metric in all_metrics()
            if metric.in_tables and metric.explanation
        ],
        lower_is_better=", ".join(
            metric.label
            for metric in all_metrics()
            if metric.in_tables and not metric.higher_is_better
        ),
        amplification=AMPLIFICATION,
    )
    path.write_text(text, encoding="utf-8")


def _gallery(rows: Sequence[Row]) -> _Gallery | None:
    with_images = [row for row in rows if row.sample_images]
    if not with_images:
        return None
    indices: dict[str, int] = {}

    def index_of(pixels: npt.NDArray[np.uint8]) -> int:
        return indices.setdefault(_data_uri(pixels), len(indices))

    # Models of different input sizes have different references, so the size is part of the key.
    photos: dict[str, dict[str, Any]] = {}
    changes: list[float] = []
    entries = []
    for row in with_images:
        by_photo = {}
        fidelity = row.fidelity_to("full_model")
        measured = {} if fidelity is None else {one.name: one for one in fidelity.images}
        for sample in row.sample_images:
            height, width = sample.full_model.shape[:2]
            key = f"{sample.name}, {width} x {height}"
            if key not in photos:
                resized = cv2.resize(sample.photo, (width, height), interpolation=cv2.INTER_CUBIC)
                photo, full_model = np.asarray(resized, np.uint8), _to_uint8(sample.full_model)
                photos[key] = {
                    "name": key,
                    "photo": index_of(photo),
                    "full": index_of(full_model),
                }
                changes.append(float(np.mean(cv2.absdiff(photo, full_model))))
            by_photo[key] = {
                "output": index_of(_to_uint8(sample.output)),
                "difference": index_of(_difference(sample)),
                "quality": _quality(measured.get(sample.name)),
            }
        entries.append({"name": row.name, "images": by_photo})
    return _Gallery(list(indices), list(photos.values()), entries, int(np.argmax(changes)))


def _quality(image: ImageFidelity | None) -> str:
    """Returns the metrics of an image, such as "PSNR 43.1 dB, SSIM 0.9866"."""
    if image is None:
        return "PSNR -"
    values = [
        f"{metric.label} {metric.text(image.values[metric.key])}"
        for metric in all_metrics()
        if metric.in_tables
    ]
    return ", ".join([f"PSNR {psnr_text(image.psnr_db)}", *values])


def _difference(sample: SampleImages) -> npt.NDArray[np.uint8]:
    difference = np.abs(sample.output - sample.full_model)
    return _to_uint8(np.clip(difference * AMPLIFICATION, 0, 1))


def _to_uint8(image: FloatImage) -> npt.NDArray[np.uint8]:
    return np.asarray(from_unit(image, np.dtype(np.uint8)), np.uint8)


def _data_uri(pixels: npt.NDArray[np.uint8]) -> str:
    # Lossless, because JPEG artifacts are as large as the differences that are shown.
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "WEBP", lossless=True, quality=50, method=2)
    return "data:image/webp;base64," + base64.b64encode(file.getvalue()).decode()
