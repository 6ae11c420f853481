"""Time of the stages of rendering, and how much sharpness and network output the result keeps."""

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
# Hand-drawn boxes within the subjects of the bundled photos (the head of the dandelion, the stone
# table): top, bottom, left and right as fractions of the photo's height and width.
SUBJECTS = {
    "dandelion.jpg": (0.15, 0.5, 0.18, 0.41),
    "sunset.jpg": (0.66, 0.75, 0.65, 0.9),
}


@dataclass(frozen=True)
class RenderingRow:
    """One photo rendered with one model; times are medians in ms.

    Attributes:
        photo, model: File names.
        megapixels: Size of the photo.
        stages: Time of each of `bokeh_bench.workers.rendering.STAGES`.
        loaded_stages: The same while `BUSY_PROCESSES` other processes keep the CPU busy.
        alone_ms: The inference alone.
        in_a_folder_ms: Time per photo when a folder is rendered.
        peak_rss_bytes: Peak resident memory of the process.
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
        """Time of preparing and detail fusion divided by that of the inference alone."""
        return (self.stages["prepare_ms"] + self.stages["fuse_ms"]) / self.alone_ms

    @property
    def over_files(self) -> float:
        """Time of preparing and detail fusion divided by that of decoding and encoding."""
        in_memory = self.stages["prepare_ms"] + self.stages["fuse_ms"]
        return in_memory / (self.stages["decode_ms"] + self.stages["encode_ms"])

    @property
    def whole_overhead(self) -> float:
        """Time of all other stages, files included, divided by that of the inference alone."""
        return sum(self.stages.values()) / self.alone_ms - 1

    @property
    def folder_overhead(self) -> float:
        """Overhead per photo of a folder, divided by the time of the inference alone."""
        return self.in_a_folder_ms / self.alone_ms - 1


@dataclass(frozen=True)
class KeptRow:
    """How much of the photo's sharpness and of the network's output a result keeps.

    Sharpness is the mean squared Laplacian of the gray image at full size.

    Attributes:
        photo, model: File names.
        in_focus: Fraction of the photo that the network left in focus, in [0, 1].
        subject_sharpness: Sharpness of the result divided by the photo's, within the subject's box;
            for a photo without a box, where the network left it in focus.
        scaled_up_sharpness: The same for the network's output that is only scaled up.
        background_sharpness: Sharpness of the result divided by the photo's, where the network
            blurred.
        psnr_db: PSNR in dB of the result, scaled down, vs the network's output.
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
        raise InputError(f"{folder}: contains no JPEG photo; give another folder with --photos")
    return found


def enlarge(photo: Path, folder: Path) -> Path:
    """Writes the photo scaled up to 50 megapixels, for timing, and returns the path."""
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
    progress: Callable[[str], None],
) -> list[RenderingRow]:
    """Renders each photo with each model, each in a process of its own.

    Args:
        models: .tflite files.
        photos: Image files.
        folder: Folder for the results.
        runs: Number of timed runs of each photo.
        progress: Called with a description of each step.

    Raises:
        InputError: If a photo cannot be rendered, or not within the time limit.
    """
    rows = []
    for model in models:
        for photo in photos:
            progress(f"rendering {photo.name} with {model.name}")
            timings = _time_stages(model, photo, folder, runs)
            height, width = read_photo(photo).pixels.shape[:2]
            rows.append(
                RenderingRow(
                    photo=photo.name,
                    model=model.name,
                    megapixels=height * width / 1e6,
                    stages={stage: timings[stage] for stage in STAGES},
                    loaded_stages={stage: timings[f"loaded_{stage}"] for stage in STAGES},
                    alone_ms=timings["alone_ms"],
                    in_a_folder_ms=timings["in_a_folder_ms"],
                    peak_rss_bytes=timings["peak_rss_bytes"],
                )
            )
    return rows


def measure_kept(models: Sequence[Path], photos: Sequence[Path]) -> list[KeptRow]:
    """Compares each result with its photo and with the network's output."""
    rows = []
    for path in models:
        for photo in photos:
            pixels = read_photo(photo).pixels
            with BokehModel.open(path, "cpu") as model:
                result = model.render(pixels).pixels
                network_output = to_unit(model.render(pixels, network_resolution=True).pixels)
            height, width = pixels.shape[:2]
            frame = Frame.within(
                (height, width), (network_output.shape[0], network_output.shape[1])
            )
            focus = focus_mask(scale(pixels, frame.height, frame.width), network_output)
            large = cv2.resize(focus, (width, height), interpolation=cv2.INTER_LINEAR)
            scaled_up = cv2.resize(
                (network_output * 255).astype(np.uint8),
                (width, height),
                interpolation=cv2.INTER_CUBIC,
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
                    psnr_db=psnr(
                        scale(result, *network_output.shape[:2]), network_output, border_px=0
                    ),
                )
            )
    return rows


def table(rows: Sequence[RenderingRow]) -> str:
    """Returns a Markdown table."""
    return markdown_table(
        (
            *("photo", "model", *(stage.removesuffix("_ms") for stage in STAGES)),
            *(
                "prepare + fusion",
                "relative to decode + encode",
                "overhead",
                "overhead in a folder",
            ),
            "peak RSS",
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
            *(
                "photo",
                "model",
                "in focus",
                "subject sharpness",
                "subject sharpness, only scaled up",
            ),
            *("background sharpness", "PSNR vs network output"),
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


def _time_stages(model: Path, photo: Path, folder: Path, runs: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "bokeh_bench.workers.rendering", model, photo, folder, runs]
    try:
        # One for opening, and four inferences for each run and the warm-up; see
        # `workers.rendering.measure`.
        done = child_process.run(
            command, seconds=(4 * (runs + 1) + 1) * child_process.TIMEOUT_SECONDS
        )
    except child_process.TimeLimitError as error:
        raise InputError(f"{photo}: rendering with {model} {error}") from error
    if done.returncode:
        last = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise InputError(f"{photo}: cannot be rendered with {model} ({last[-1]})")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _box(photo: str, shape: tuple[int, ...]) -> np.ndarray:
    top, bottom, left, right = SUBJECTS[photo]
    region = np.zeros(shape, bool)
    rows = slice(int(top * shape[0]), int(bottom * shape[0]))
    region[rows, int(left * shape[1]) : int(right * shape[1])] = True
    return region


def _ratio(result: Pixels, photo: Pixels, region: np.ndarray) -> float:
    return float(_sharpness(result)[region].mean() / _sharpness(photo)[region].mean())


def _sharpness(pixels: Pixels) -> FloatImage:
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    return as_float(np.square(cv2.Laplacian(grey, cv2.CV_32F)))
