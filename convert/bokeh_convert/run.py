"""One run of `convert`: read, lower, quantize, verify, describe, write."""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bokeh_convert.api import DEMO_SIZE, Conversion, Progress, demo_model
from bokeh_convert.data.calibration_data import (
    Sample,
    SampleSet,
    draw_samples,
    pass_over_unreadable,
    to_input,
)
from bokeh_convert.graph.delegate_compatibility import gpu_objections, placement
from bokeh_convert.graph.model_metadata import describe
from bokeh_convert.graph.op_inventory import count_operators, multiply_accumulates
from bokeh_convert.graph.to_tflite import lower
from bokeh_convert.passes import FOR_EVERY_SCHEME, MERGE_CONVOLUTIONS, PassResult, apply_passes
from bokeh_convert.quantize.activation_calibration import ActivationRanges, measure_ranges
from bokeh_convert.quantize.fp16_arithmetic import MIN_PSNR_DB, mark_half, rehearse_half
from bokeh_convert.quantize.int16_emulation import MOST_MULTIPLY_ACCUMULATES
from bokeh_convert.quantize.mixed_precision_search import SEARCH_PHOTOS, Budget, Plan, Trial, search
from bokeh_convert.quantize.schemes import SCHEMES, Scheme, quantize
from bokeh_convert.report import (
    ConversionReport,
    fidelity_summary,
    no_psnr,
    psnr_summary,
    tool_versions,
    without_images,
)
from bokeh_convert.sources import SourceOptions, read_model
from bokeh_convert.sources.float_model import FloatModel, SizedModel
from bokeh_convert.verify.comparison import save_comparison
from bokeh_convert.verify.trade_off import save_trade_off
from bokeh_convert.verify.verification import (
    BrokenPictureError,
    Fidelity,
    FidelityLimits,
    draw_reference,
    sized_sample,
    verify,
)
from bokeh_runtime.atomic_output import Staging, refuse_folder
from bokeh_runtime.errors import InputError
from bokeh_runtime.imaging.photo import FloatImage
from bokeh_runtime.metrics.psnr import psnr_text
from bokeh_runtime.tflite.metadata import ModelMetadata
from bokeh_runtime.tflite.reference_pack import Reference, save_reference


class Run:
    """What the files of one run share. See `bokeh_convert.convert` for the arguments."""

    def __init__(
        self,
        source: Path,
        options: SourceOptions,
        photos: Path | None,
        samples: int,
        seed: int,
        size: tuple[int, int] | None,
        skip_passes: Collection[str],
        budget: Budget,
        whole_curve: bool,
        threads: int,
        progress: Progress,
    ) -> None:
        self._source = source
        self._options = options
        self._photos = photos
        self._samples = samples
        self._seed = seed
        self._size = size
        self._skip_passes = skip_passes
        self._budget = budget
        self._whole_curve = whole_curve
        self._threads = threads
        self._progress = progress
        self._done = 0
        self._steps = 1
        self._timings: dict[str, float] = {}

    def convert(
        self, schemes: Sequence[str], folder: Path, limits: FidelityLimits
    ) -> list[Conversion]:
        with Staging(folder) as staging:
            self._step(f"reading {self._source.name}", 0)
            with self._timed("read_s"):
                model = read_model(self._source, self._options)
            for name in schemes:
                refuse_folder(folder / f"{model.name}_{name}.tflite")
                refuse_folder(folder / f"{model.name}_{name}.report.json")
            pack, picture = f"{model.name}.reference.npz", f"{model.name}.comparison.png"
            for name in (pack, picture):
                refuse_folder(folder / name)
            drawn = draw_samples(
                self._photos, channels=model.channels, count=self._samples, seed=self._seed
            )
            calibrated = any(SCHEMES[name].calibrated for name in schemes)
            planned = any(SCHEMES[name].planned for name in schemes)
            self._step("reading the photos", 0)
            drawn = pass_over_unreadable(drawn, calibrates=calibrated or planned)
            verified = len(drawn.verification)
            self._steps = 2 + calibrated + verified + len(schemes) * (1 + verified)
            sized = model.at(*self._size_of(model))
            self._step(f"drawing with {self._source.name}")
            with self._timed("reference_s"):
                reference = draw_reference(sized, drawn.verification, self._step)
            self._step("lowering to a flatbuffer")
            with self._timed("lower_s"):
                lowered = lower(sized)
                float32, rewritten = apply_passes(lowered, FOR_EVERY_SCHEME, self._skip_passes)
            self._step()

            measured = None
            if calibrated:
                self._step("measuring ranges", 0)
                with self._timed("ranges_s"):
                    inputs = self._inputs(drawn.calibration, sized)
                    measured = measure_ranges(lowered, inputs, threads=self._threads)
                self._step()
            save_reference(staging.path(pack), reference)
            # Into each report: another run into this folder may put another pack in its place.
            reference_file = {
                "file": pack,
                "sha256": _sha256(staging.path(pack)),
                "photos_sha256": [sample.sha256 for sample in drawn.verification],
            }

            prepared = _Prepared(
                sized, drawn, lowered, float32, rewritten, measured, reference, reference_file
            )
            files = [self._file(name, prepared, limits) for name in schemes]
            for file in files:
                staging.path(file.report.file).write_bytes(file.content)
                staging.path(file.report_name).write_text(file.report.to_json(), encoding="utf-8")
                if file.plan is not None and self._whole_curve:
                    curve = staging.path(f"{model.name}_{file.report.scheme}.trade_off.png")
                    save_trade_off(curve, file.plan, self._budget)
            columns = [(file.report.scheme, file.pictures) for file in files if file.pictures]
            save_comparison(staging.path(picture), reference, columns)
            self._step("writing the files", 0)
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

    def _file(self, name: str, prepared: _Prepared, limits: FidelityLimits) -> _File:
        sized, reference = prepared.sized, prepared.reference
        scheme = SCHEMES[name]
        self._step(f"writing {name}" if name == "float32" else f"quantizing to {name}", 0)
        half, plan, passes = None, None, list(prepared.rewritten)
        with self._timed("quantize_s"):
            if scheme.planned:
                plan, merged = self._plan(prepared)
                content, passes = plan.content, [*passes, *merged]
            elif scheme.calibrated:
                try:
                    content = quantize(prepared.lowered, scheme, prepared.measured)
                except InputError as error:
                    raise InputError(f"{self._source}: {error}") from error
                passes = []
            else:
                content = quantize(prepared.float32, scheme)
            if name == "float16":
                content, half = self._with_half(content, reference)
        self._step(f"verifying {name}")
        fidelity: Fidelity | None = None
        pictures: Sequence[FloatImage] = ()
        failure = None
        computed_by, verified = "the file", content
        if scheme.rehearse and multiply_accumulates(content) > MOST_MULTIPLY_ACCUMULATES:
            computed_by, verified = "its rehearsal in float", scheme.rehearse(content)
        try:
            with self._timed("verify_s"):
                fidelity, pictures = verify(
                    verified, reference, threads=self._threads, on_photo=self._step
                )
        except BrokenPictureError as error:
            failure = str(error)
        if plan is not None and self._budget.cost_ratio is not None:
            limits = FidelityLimits(self._budget.psnr_db, self._budget.worst_db)
        if fidelity is not None:
            failure = limits.shortfall(fidelity)
        if failure is None and plan is not None and not self._budget.affords(plan.chosen):
            failure = (
                f"costs {plan.chosen.cost_ratio:.2f} of the float32 file, "
                f"more than {self._budget.cost_ratio:g}"
            )

        source = {
            "file": sized.model.path.name,
            "format": sized.model.format,
            "sha256": sized.model.sha256,
        }
        channels = "rgb" if sized.model.channels == 3 else "rgbd"
        summary = fidelity_summary(fidelity, computed_by) if fidelity else None
        output_height, output_width = reference.outputs[0].shape[:2]
        content = describe(
            content,
            ModelMetadata(
                input_height=sized.height,
                input_width=sized.width,
                input_channels=channels,
                value_range=(0.0, 1.0),
                output_scale=output_height / sized.height,
                resampling=sized.model.resampling,
                scheme=name,
                source=source,
                tools=tool_versions(),
                fidelity=without_images(summary),
            ),
        )
        stem = f"{sized.model.name}_{name}" + (".failed" if failure else "")
        rows = placement(content)
        report = ConversionReport(
            file=f"{stem}.tflite",
            scheme=name,
            passed=failure is None,
            failure=failure,
            min_psnr_db=limits.psnr_db,
            min_psnr_db_worst=limits.psnr_db_worst,
            size_bytes=len(content),
            sha256=hashlib.sha256(content).hexdigest(),
            timings=dict(self._timings),
            source=source,
            input={"height": sized.height, "width": sized.width, "channels": channels},
            output={
                "name": sized.output_name,
                "height": output_height,
                "width": output_width,
            },
            calibration=self._calibration(prepared.drawn, scheme),
            plan=None if plan is None else {"budget": self._asked(), **plan.summary()},
            reference=prepared.reference_file,
            photos_passed_over=[
                {"photo": photo.name, "cause": cause} for photo, cause in prepared.drawn.passed_over
            ],
            passes=[asdict(result) for result in passes],
            half_precision=half,
            fidelity=summary,
            operators=count_operators(content),
            gpu_objections=gpu_objections(rows),
            placement=[asdict(row) for row in rows],
            tools=tool_versions(),
            notes=list(prepared.drawn.notes),
        )
        return _File(content, report, f"{stem}.report.json", pictures, plan)

    def _plan(self, prepared: _Prepared) -> tuple[Plan, list[PassResult]]:
        def on_trial(trial: Trial) -> None:
            drawn = f"{psnr_text(trial.psnr_db_mean)} at {trial.cost_ratio:.2f} of float32's cost"
            self._step(f"searching a plan for int8: {drawn}", 0)

        photos = list(self._inputs(prepared.drawn.calibration[:SEARCH_PHOTOS], prepared.sized))
        merge = MERGE_CONVOLUTIONS not in self._skip_passes
        plan = search(
            prepared.float32,
            photos,
            self._budget,
            merge=merge,
            whole_curve=self._whole_curve,
            threads=self._threads,
            on_trial=on_trial,
        )
        counted = "convolutions merged into another"
        merged = PassResult(MERGE_CONVOLUTIONS, counted, plan.chosen.merged)
        return plan, [merged] if merge else []

    def _asked(self) -> dict[str, Any]:
        return {**asdict(self._budget), "psnr_db_worst": self._budget.worst_db}

    def _with_half(self, content: bytes, reference: Reference) -> tuple[bytes, dict[str, Any]]:
        """Marks a file for native half precision if the rehearsal of that holds the picture."""
        self._step("rehearsing half precision", 0)
        summary: dict[str, Any] = {**no_psnr(), "failure": None}
        holds = False
        try:
            fidelity, _ = verify(
                rehearse_half(content), reference, threads=self._threads, on_photo=lambda: None
            )
            holds = fidelity.psnr_db_worst >= MIN_PSNR_DB
            summary |= psnr_summary(fidelity.psnr)
        except BrokenPictureError as error:
            summary["failure"] = str(error)
        summary |= {"marked": holds, "min_psnr_db": MIN_PSNR_DB}
        return (mark_half(content) if holds else content), summary

    def _inputs(self, samples: Sequence[Sample], sized: SizedModel) -> Iterator[FloatImage]:
        for sample in samples:
            pixels = sized_sample(sample, sized)
            yield to_input(pixels)

    def _calibration(self, drawn: SampleSet, scheme: Scheme) -> dict[str, Any] | None:
        """Says which photos had a part in the file: in its ranges, or in its plan."""
        if not scheme.calibrated and not scheme.planned:
            return None
        photos = drawn.calibration[:SEARCH_PHOTOS] if scheme.planned else drawn.calibration
        return {
            "photos": drawn.origin,
            "depth": drawn.depth,
            "count": len(photos),
            "seed": self._seed,
            "names": [sample.photo.name for sample in photos],
            "sha256": [sample.sha256 for sample in photos],
        }

    @contextlib.contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        self._timings[stage] = round(time.monotonic() - began, 2)

    def _step(self, what: str = "", count: int = 1) -> None:
        self._done += count
        self._progress(what, self._done, self._steps)


@dataclass(frozen=True)
class _Prepared:
    """What all files of a run are made from."""

    sized: SizedModel
    drawn: SampleSet
    lowered: bytes
    float32: bytes
    rewritten: Sequence[PassResult]
    measured: ActivationRanges | None
    reference: Reference
    reference_file: dict[str, Any]


@dataclass(frozen=True)
class _File:
    content: bytes
    report: ConversionReport
    report_name: str
    pictures: Sequence[FloatImage]
    plan: Plan | None


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
