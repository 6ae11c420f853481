"""What a photo's way through the pipeline costs, and what the result keeps of photo and network."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from bokeh_bench import child_process
from bokeh_bench.report.tables import markdown_table
from bokeh_bench.workers.rendering import BUSY_PROCESSES, STAGES
from bokeh_runtime import BokehModel, InputError, Photo, read_photo, write_photo
from bokeh_runtime.imaging.detail_fusion import focus_mask
from bokeh_runtime.imaging.photo import FloatImage, Pixels, as_float, to_unit
from bokeh_runtime.imaging.resample import Frame, scale
from bokeh_runtime.metrics.psnr import psnr, psnr_text

LARGE_PIXELS = 50_000_000
# Boxes within the subjects of the bundled photos, drawn by hand: top, bottom, left, right as shares
# of the photo's height and width. The head of the dandelion; the stone table.
SUBJECTS = {
    "dandelion.jpg": (0.15, 0.5, 0.18, 0.41),
    "sunset.jpg": (0.66, 0.75, 0.65, 0.9),
}


@dataclass(frozen=True)
class RenderingRow:
    """One photo through one model; times in ms, medians.

    Attributes:
        photo, model: Names of the files.
        megapixels: Of the photo.
        stages: Of `bokeh_bench.workers.rendering.STAGES`.
        loaded_stages: The same while `BUSY_PROCESSES` others keep the CPU busy.
        alone_ms: The inference by itself.
        in_a_folder_ms: For each photo of a folder.
        peak_rss_bytes: Of the process.
    """

    photo: str
    model: str
    megapixels: float
    stages: dict[str, float]
    loaded_stages: dict[str, float]
    alone_ms: float
    in_a_folder_ms: float
    peak_rss_bytes: int

    @property
    def in_memory_overhead(self) -> float:
        """Of preparing and joining over the inference alone."""
        return (self.stages["prepare_ms"] + self.stages["fuse_ms"]) / self.alone_ms

    @property
    def over_files(self) -> float:
        """Preparing and joining over decoding and encoding."""
        in_memory = self.stages["prepare_ms"] + self.stages["fuse_ms"]
        return in_memory / (self.stages["decode_ms"] + self.stages["encode_ms"])

    @property
    def whole_overhead(self) -> float:
        """Of everything around the inference, files included, over the inference alone."""
        return sum(self.stages.values()) / self.alone_ms - 1

    @property
    def folder_overhead(self) -> float:
        return self.in_a_folder_ms / self.alone_ms - 1


@dataclass(frozen=True)
class KeptRow:
    """What a result keeps.

    Attributes:
        photo, model: Names of the files.
        in_focus: Share of the photo that the network left in focus.
        subject_sharpness: Of the result over the photo's, within the subject's box (where the
            network left it in focus, for a photo without one): mean squared Laplacian of the grey
            picture at full size.
        scaled_up_sharpness: The same, if the network's picture were only scaled up.
        background_sharpness: The same, where the network blurred.
        psnr_db: Of the result, scaled down, from the network's picture.
    """

    photo: str
    model: str
    in_focus: float
    subject_sharpness: float
    scaled_up_sharpness: float
    background_sharpness: float
    psnr_db: float


def large_photos(folder: Path) -> list[Path]:
    """Returns the JPEG photos of a folder.

    Raises:
        InputError: If there is none.
    """
    if not folder.is_dir():
        raise InputError(
            f"{folder}: no such folder; run in a checkout of bokeh-tflite, which has "
            "benchmarks/photos, or give a folder of JPEG photos with --photos"
        )
    found = sorted(folder.glob("*.jpg"))
    if not found:
        raise InputError(f"{folder}: holds no JPEG photo; give another with --photos")
    return found


def enlarge(photo: Path, folder: Path) -> Path:
    """Writes the photo scaled up to 50 megapixels, for its size and not for its looks."""
    pixels = read_photo(photo).pixels
    factor = (LARGE_PIXELS / (pixels.shape[0] * pixels.shape[1])) ** 0.5
    large = cv2.resize(pixels, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
    path = folder / f"{photo.stem}_50mp.jpg"
    write_photo(path, Photo(np.asarray(large, np.uint8)))
    return path


def measure(
    models: Sequence[Path],
    photos: Sequence[Path],
    folder: Path,
    runs: int,
    say: Callable[[str], None],
) -> list[RenderingRow]:
    """Renders each photo through each model, each in a process of its own.

    Raises:
        InputError: If one cannot be rendered, or not in time.
    """
    rows = []
    for model in models:
        for photo in photos:
            say(f"rendering {photo.name} through {model.name}")
            found = _one(model, photo, folder, runs)
            height, width = read_photo(photo).pixels.shape[:2]
            rows.append(
                RenderingRow(
                    photo=photo.name,
                    model=model.name,
                    megapixels=height * width / 1e6,
                    stages={stage: found[stage] for stage in STAGES},
                    loaded_stages={stage: found[f"loaded_{stage}"] for stage in STAGES},
                    alone_ms=found["alone_ms"],
                    in_a_folder_ms=found["in_a_folder_ms"],
                    peak_rss_bytes=found["peak_rss_bytes"],
                )
            )
    return rows


def measure_kept(models: Sequence[Path], photos: Sequence[Path]) -> list[KeptRow]:
    """Compares each result with its photo, and with the network's picture."""
    rows = []
    for path in models:
        for photo in photos:
            pixels = read_photo(photo).pixels
            with BokehModel.open(path, "cpu") as model:
                result = model.render(pixels).pixels
                drawn = to_unit(model.render(pixels, network_resolution=True).pixels)
            height, width = pixels.shape[:2]
            frame = Frame.within((height, width), (drawn.shape[0], drawn.shape[1]))
            focus = focus_mask(scale(pixels, frame.height, frame.width), drawn)
            large = cv2.resize(focus, (width, height), interpolation=cv2.INTER_LINEAR)
            scaled_up = cv2.resize(
                (drawn * 255).astype(np.uint8), (width, height), interpolation=cv2.INTER_CUBIC
            )
            far = large < 0.05
            near = _box(photo.name, large.shape) if photo.name in SUBJECTS else large > 0.95
            rows.append(
                KeptRow(
                    photo=photo.name,
                    model=path.name,
                    in_focus=float((large > 0.95).mean()),
                    subject_sharpness=_ratio(result, pixels, near),
                    scaled_up_sharpness=_ratio(np.asarray(scaled_up), pixels, near),
                    background_sharpness=_ratio(result, pixels, far),
                    psnr_db=psnr(scale(result, *drawn.shape[:2]), drawn, border_px=0),
                )
            )
    return rows


def table(rows: Sequence[RenderingRow]) -> str:
    """Returns a Markdown table."""
    return markdown_table(
        (
            *("photo", "model", *(stage.removesuffix("_ms") for stage in STAGES)),
            *("prepare + join", "of decode + encode", "all around it", "in a folder", "peak"),
        ),
        [
            (
                f"{row.photo}, {row.megapixels:.1f} MP",
                row.model,
                *(f"{row.stages[stage]:.0f} ms" for stage in STAGES),
                f"{row.in_memory_overhead:+.0%}",
                f"{row.over_files:.2f}",
                f"{row.whole_overhead:+.0%}",
                f"{row.folder_overhead:+.0%}",
                f"{row.peak_rss_bytes / 1e9:.2f} GB",
            )
            for row in rows
        ],
        text_columns=2,
    )


def load_table(rows: Sequence[RenderingRow]) -> str:
    """Returns a Markdown table of the stages on an idle and on a busy machine."""
    return markdown_table(
        ("photo", "model", "stage", "idle", f"{BUSY_PROCESSES} busy processes", "ratio"),
        [
            (
                f"{row.photo}, {row.megapixels:.1f} MP",
                row.model,
                stage.removesuffix("_ms"),
                f"{row.stages[stage]:.0f} ms",
                f"{row.loaded_stages[stage]:.0f} ms",
                f"{row.loaded_stages[stage] / row.stages[stage]:.1f}",
            )
            for row in rows
            for stage in STAGES
        ],
        text_columns=3,
    )


def kept_table(rows: Sequence[KeptRow]) -> str:
    """Returns a Markdown table."""
    return markdown_table(
        (
            *("photo", "model", "in focus", "subject's sharpness", "only scaled up"),
            *("blurred part's", "scaled down, from the network's"),
        ),
        [
            (
                row.photo,
                row.model,
                f"{row.in_focus:.0%}",
                f"{row.subject_sharpness:.3f}",
                f"{row.scaled_up_sharpness:.3f}",
                f"{row.background_sharpness:.3f}",
                psnr_text(row.psnr_db),
            )
            for row in rows
        ],
        text_columns=2,
    )


def _one(model: Path, photo: Path, folder: Path, runs: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "bokeh_bench.workers.rendering", model, photo, folder, runs]
    try:
        # Opening, and of each run and a first one four inferences: see `workers.rendering.measure`.
        done = child_process.run(command, seconds=(4 * (runs + 1) + 1) * child_process.SECONDS)
    except child_process.TimeLimitError as error:
        raise InputError(f"{photo}: rendering it through {model} {error}") from error
    if done.returncode:
        last = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise InputError(f"{photo}: cannot be rendered through {model} ({last[-1]})")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _box(photo: str, shape: tuple[int, ...]) -> np.ndarray:
    top, bottom, left, right = SUBJECTS[photo]
    where = np.zeros(shape, bool)
    rows = slice(int(top * shape[0]), int(bottom * shape[0]))
    where[rows, int(left * shape[1]) : int(right * shape[1])] = True
    return where


def _ratio(result: Pixels, photo: Pixels, where: np.ndarray) -> float:
    return float(_sharpness(result)[where].mean() / _sharpness(photo)[where].mean())


def _sharpness(pixels: Pixels) -> FloatImage:
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    return as_float(np.square(cv2.Laplacian(grey, cv2.CV_32F)))
