"""The report as one HTML file that needs no network."""

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

from bokeh_bench.measure.rows import Picture, Report, Row
from bokeh_bench.report.console import describe_pair, footnotes, table_of
from bokeh_bench.report.plots import distributions, trade_off
from bokeh_runtime.imaging.photo import FloatImage, from_unit
from bokeh_runtime.metrics.psnr import psnr_text

AMPLIFIED = 8
"""How much a difference is amplified, so that eyes see it."""
_TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class _Gallery:
    """Pictures of all rows; each is in the file once, however many rows drew it.

    Attributes:
        images: Data URIs.
        photos: Name, and the numbers of the photo and of the full model's picture.
        rows: Name of a row, and for each photo the numbers of its picture, of the difference, and
            the PSNR as text.
    """

    images: Sequence[str]
    photos: Sequence[dict[str, Any]]
    rows: Sequence[dict[str, Any]]


def write_html(path: Path, report: Report) -> None:
    """Writes the report: figures, plots, and the pictures with a slider between two of them."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    done = [row for row in report.rows if not row.failure]
    headings, cells = table_of(done)
    text = environment.get_template("report.html").render(
        report=report,
        done=done,
        failed=[row for row in report.rows if row.failure],
        headings=headings,
        cells=cells,
        footnotes=footnotes(done),
        pair=None if report.pair is None else describe_pair(report.pair),
        trade_off=[Markup(svg) for svg in trade_off(done)],
        distributions=[Markup(svg) for svg in distributions(done)],
        gallery=_gallery(done),
        amplified=AMPLIFIED,
    )
    path.write_text(text, encoding="utf-8")


def _gallery(rows: Sequence[Row]) -> _Gallery | None:
    drawn = [row for row in rows if row.pictures]
    if not drawn:
        return None
    numbers: dict[str, int] = {}

    def number(pixels: npt.NDArray[np.uint8]) -> int:
        return numbers.setdefault(_data_uri(pixels), len(numbers))

    # Models of several sizes have references of their own; a photo is told by its picture's size.
    photos: dict[str, dict[str, Any]] = {}
    entries = []
    for row in drawn:
        by_photo = {}
        fidelity = row.fidelity_to("full_model")
        decibels = {} if fidelity is None else {one.name: one.psnr_db for one in fidelity.images}
        for picture in row.pictures:
            height, width = picture.full_model.shape[:2]
            key = f"{picture.name}, {width} x {height}"
            if key not in photos:
                photo = cv2.resize(picture.photo, (width, height), interpolation=cv2.INTER_CUBIC)
                photos[key] = {
                    "name": key,
                    "photo": number(np.asarray(photo, np.uint8)),
                    "full": number(_bytes(picture.full_model)),
                }
            by_photo[key] = {
                "drawn": number(_bytes(picture.drawn)),
                "difference": number(_difference(picture)),
                "psnr": psnr_text(decibels[picture.name]) if picture.name in decibels else "-",
            }
        entries.append({"name": row.name, "pictures": by_photo})
    return _Gallery(list(numbers), list(photos.values()), entries)


def _difference(picture: Picture) -> npt.NDArray[np.uint8]:
    return _bytes(np.clip(np.abs(picture.drawn - picture.full_model) * AMPLIFIED, 0, 1))


def _bytes(picture: FloatImage) -> npt.NDArray[np.uint8]:
    return np.asarray(from_unit(picture, np.dtype(np.uint8)), np.uint8)


def _data_uri(pixels: npt.NDArray[np.uint8]) -> str:
    # Without loss: a JPEG's own error is of the size of what is shown.
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "WEBP", lossless=True, quality=50, method=2)
    return "data:image/webp;base64," + base64.b64encode(file.getvalue()).decode()
