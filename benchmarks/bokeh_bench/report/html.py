"""The report as one self-contained HTML file."""

from __future__ import annotations

import base64
import hashlib
import io
from collections import Counter
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
        photos: For each photo its name, which no other has, and its index in `images`.
        rows: For each row its name, and by the number of each of its photos in `photos` the indices
            of the full model's output, of the output and of the difference image, and its metrics
            as text. Rows may have different full models.
        opens_on: Number of the photo to show first: of those of the first row, the one that the
            full model changes most.
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
    # The name of a file may hold bytes that are no UTF-8.
    path.write_text(text, encoding="utf-8", errors="backslashreplace")


class _Images:
    """Images as data URIs, each different one once.

    Attributes:
        uris: The images.
    """

    def __init__(self) -> None:
        self.uris: list[str] = []
        self._indices: dict[tuple[tuple[int, ...], bytes], int] = {}

    def index_of(self, pixels: npt.NDArray[np.uint8]) -> int:
        """Returns the index of an image in `uris`, and adds it if it is new."""
        key = (pixels.shape, hashlib.sha256(pixels.tobytes()).digest())
        if key not in self._indices:
            self._indices[key] = len(self.uris)
            self.uris.append(_data_uri(pixels))
        return self._indices[key]


def _gallery(rows: Sequence[Row]) -> _Gallery | None:
    with_images = [row for row in rows if row.sample_images]
    if not with_images:
        return None
    images = _Images()
    # Different photos may have one name, and models of different input sizes scale a photo
    # differently, so the scaled photo itself is part of the key.
    numbers: dict[tuple[str, int], int] = {}
    photos: list[dict[str, Any]] = []
    names: Counter[str] = Counter()
    changes: list[float] = []
    entries = []
    for row in with_images:
        by_photo = {}
        fidelity = row.fidelity_to("full_model")
        measured = iter(() if fidelity is None else fidelity.images)  # in the order of the samples
        for sample in row.sample_images:
            height, width = sample.full_model.shape[:2]
            resized = cv2.resize(sample.photo, (width, height), interpolation=cv2.INTER_CUBIC)
            photo, full_model = np.asarray(resized, np.uint8), _to_uint8(sample.full_model)
            name = f"{sample.name}, {width} x {height}"
            key = (name, images.index_of(photo))
            if key not in numbers:
                numbers[key] = len(photos)
                names[name] += 1
                unique = name if names[name] == 1 else f"{name} ({names[name]})"
                photos.append({"name": unique, "photo": key[1]})
                changes.append(float(np.mean(cv2.absdiff(photo, full_model))))
            by_photo[numbers[key]] = {
                "full": images.index_of(full_model),
                "output": images.index_of(_to_uint8(sample.output)),
                "difference": images.index_of(_difference(sample)),
                "quality": _quality(next(measured, None)),
            }
        entries.append({"name": row.name, "images": by_photo})
    of_first_row = changes[: len(entries[0]["images"])]
    return _Gallery(images.uris, photos, entries, int(np.argmax(of_first_row)))


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
