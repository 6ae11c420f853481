"""One run of `convert`: read, lower, quantize, verify, describe, write."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bokeh_convert.api import DEMO_SIZE, Conversion, Progress, demo_model
from bokeh_convert.comparison import save_comparison
from bokeh_convert.describe import describe
from bokeh_convert.lower import lower
from bokeh_convert.operators import count_operators, gpu_objections
from bokeh_convert.quantize import SCHEMES, quantize
from bokeh_convert.read import read_model
from bokeh_convert.read.float_model import FloatModel, SizedModel
from bokeh_convert.report import ConversionReport, fidelity_summary, tool_versions
from bokeh_convert.samples import SampleSet, draw_samples, read_sample, to_input
from bokeh_convert.staging import Staging
from bokeh_convert.verify import (
    BrokenPictureError,
    Fidelity,
    Reference,
    draw_reference,
    save_reference,
    verify,
)
from bokeh_runtime.errors import InputError
from bokeh_runtime.metadata import ModelMetadata
from bokeh_runtime.photo import FloatImage

RESAMPLING = "area"


class Run:
    """What the files of one run share. See `bokeh_convert.convert` for the arguments."""

    def __init__(
        self,
        source: Path,
        photos: Path | None,
        samples: int,
        seed: int,
        size: tuple[int, int] | None,
        threads: int,
        progress: Progress,
    ) -> None:
        self._source = source
        self._photos = photos
        self._samples = samples
        self._seed = seed
        self._size = size
        self._threads = threads
        self._progress = progress
        self._done = 0
        self._steps = 1

    def convert(
        self, schemes: Sequence[str], folder: Path, min_psnr_db: float | None
    ) -> list[Conversion]:
        with Staging(folder) as staging:
            self._step(f"reading {self._source.name}", 0)
            model = read_model(self._source)
            drawn = draw_samples(
                self._photos, channels=model.channels, count=self._samples, seed=self._seed
            )
            self._steps = 2 + len(drawn.verification) + len(schemes) * (1 + len(drawn.verification))
            sized = model.at(*self._size_of(model))
            self._step(f"drawing with {self._source.name}")
            reference = draw_reference(sized, drawn.verification, self._step)
            self._step("lowering to a flatbuffer")
            float32 = lower(sized)
            self._step()

            files = [
                self._file(name, float32, sized, drawn, reference, min_psnr_db) for name in schemes
            ]
            stem = self._source.stem
            for file in files:
                staging.path(file.report.file).write_bytes(file.content)
                staging.path(file.report_name).write_text(file.report.to_json(), encoding="utf-8")
            pack, picture = f"{stem}.reference.npz", f"{stem}.comparison.png"
            save_reference(staging.path(pack), reference, model.sha256)
            columns = [(file.report.scheme, file.pictures) for file in files if file.pictures]
            save_comparison(staging.path(picture), reference, columns)
            staging.commit()
        return [
            Conversion(
                folder / file.report.file,
                folder / file.report_name,
                folder / pack,
                folder / picture,
                file.report,
            )
            for file in files
        ]

    def _size_of(self, model: FloatModel) -> tuple[int, int]:
        if self._size is not None:
            return self._size
        if model.height is not None and model.width is not None:
            return model.height, model.width
        if model.path.resolve() == demo_model().resolve():
            return DEMO_SIZE
        raise InputError(f"{model.path}: leaves its input size open; give --size HEIGHTxWIDTH")

    def _file(
        self,
        name: str,
        float32: bytes,
        sized: SizedModel,
        drawn: SampleSet,
        reference: Reference,
        min_psnr_db: float | None,
    ) -> _File:
        began = time.monotonic()
        scheme = SCHEMES[name]

        def calibration() -> Iterator[FloatImage]:
            for sample in drawn.calibration:
                pixels = read_sample(sample, sized.height, sized.width, sized.model.channels)
                yield to_input(pixels)

        self._step(f"quantizing to {name}" if scheme.rules else f"writing {name}", 0)
        content = quantize(float32, scheme, calibration, threads=self._threads)
        self._step(f"verifying {name}")
        fidelity: Fidelity | None = None
        pictures: Sequence[FloatImage] = ()
        failure = None
        try:
            fidelity, pictures = verify(
                content, reference, threads=self._threads, on_photo=self._step
            )
        except BrokenPictureError as error:
            failure = str(error)
        if fidelity and min_psnr_db is not None and fidelity.psnr_db_mean < min_psnr_db:
            failure = f"mean PSNR {fidelity.psnr_db_mean:.1f} dB is under {min_psnr_db:g} dB"

        source = {
            "file": sized.model.path.name,
            "format": sized.model.format,
            "sha256": sized.model.sha256,
        }
        channels = "rgb" if sized.model.channels == 3 else "rgbd"
        summary = fidelity_summary(fidelity) if fidelity else None
        output_height, output_width = reference.outputs[0].shape[:2]
        content = describe(
            content,
            ModelMetadata(
                input_height=sized.height,
                input_width=sized.width,
                input_channels=channels,
                value_range=(0.0, 1.0),
                output_scale=output_height / sized.height,
                resampling=RESAMPLING,
                scheme=name,
                source=source,
                tools=tool_versions(),
                fidelity=_without_images(summary),
            ),
        )
        stem = f"{self._source.stem}_{name}" + (".failed" if failure else "")
        report = ConversionReport(
            file=f"{stem}.tflite",
            scheme=name,
            passed=failure is None,
            failure=failure,
            min_psnr_db=min_psnr_db,
            size_bytes=len(content),
            sha256=hashlib.sha256(content).hexdigest(),
            seconds=round(time.monotonic() - began, 2),
            source=source,
            input={"height": sized.height, "width": sized.width, "channels": channels},
            output={"height": output_height, "width": output_width},
            calibration=self._calibration(drawn) if scheme.calibrated else None,
            fidelity=summary,
            operators=count_operators(content),
            gpu_objections=gpu_objections(content),
            tools=tool_versions(),
        )
        return _File(content, report, f"{stem}.report.json", pictures)

    def _calibration(self, drawn: SampleSet) -> dict[str, Any]:
        return {
            "photos": drawn.origin,
            "depth": drawn.depth,
            "count": len(drawn.calibration),
            "seed": self._seed,
            "names": [sample.photo.name for sample in drawn.calibration],
        }

    def _step(self, what: str = "", count: int = 1) -> None:
        self._done += count
        self._progress(what, self._done, self._steps)


@dataclass(frozen=True)
class _File:
    content: bytes
    report: ConversionReport
    report_name: str
    pictures: Sequence[FloatImage]


def _without_images(summary: dict[str, Any] | None) -> dict[str, Any]:
    if summary is None:
        return {}
    kept = {key: value for key, value in summary.items() if key != "images"}
    return {**kept, "images": len(summary["images"])}
