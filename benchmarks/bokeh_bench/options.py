"""The options of `bokeh-bench`, and which of them go together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from bokeh_bench.devices import find_device
from bokeh_bench.metric_options import option_name
from bokeh_runtime.backends.delegates import EngineOptions
from bokeh_runtime.errors import InputError
from bokeh_runtime.metrics.registry import all_metrics
from bokeh_runtime.shipped_models import SHIPPED_MODELS, shipped_model
from bokeh_runtime.tflite.graph_choice import parse_size
from bokeh_runtime.tflite.value_range import ValueRange
from bokeh_runtime.web.address import ServeOptions

if TYPE_CHECKING:
    from bokeh_bench.measure.cases import BenchmarkCase


@dataclass(frozen=True)
class Options:
    """The command's arguments and options, by the names of `bokeh-bench --help`.

    Attributes:
        metric_limits: The limits on regressions of metrics other than PSNR, by the metrics' keys.
        given: The options on the command line, such as "--threads", in the order of the help;
            the others have their defaults.
    """

    models: Sequence[Path]
    delegates: Sequence[str]
    threads: Sequence[int] | None
    runs: int
    seconds: float
    pair: bool
    reference: Path | None
    source: Path | None
    photos: Path | None
    dataset: Path | None
    targets: Path | None
    device: str
    delegate_library: Path | None
    allow_partial: bool
    input_range: str | None
    output_range: str | None
    size: str | None
    signature: str | None
    interpreter: str | None
    timeout: float
    no_operators: bool
    compare: Path | None
    max_slowdown: float | None
    max_psnr_drop: float | None
    output_dir: Path
    as_json: bool
    as_markdown: bool
    verbose: bool
    serve_on: str | None = None
    adb_reverse: bool = False
    metric_limits: Mapping[str, float] = field(default_factory=dict)
    given: Sequence[str] = ()

    @property
    def model_paths(self) -> Sequence[Path]:
        """The given models, or the shipped ones if none is given."""
        return self.models or [shipped_model(name) for name in SHIPPED_MODELS]

    @property
    def engine(self) -> EngineOptions:
        """How to run each model; the delegate and the threads are those of the row.

        Raises:
            InputError: If a value range or the size cannot be read.
        """
        ranges = (self.input_range, self.output_range)
        read = [None if text is None else ValueRange.parse(text) for text in ranges]
        return EngineOptions(
            interpreter=self.interpreter,
            library=self.delegate_library,
            allow_partial=self.allow_partial,
            input_range=read[0],
            output_range=read[1],
            signature=self.signature,
            size=None if self.size is None else parse_size(self.size),
        )

    @property
    def serving(self) -> ServeOptions:
        """Where the pages of `--device web` are served."""
        return ServeOptions(self.serve_on, self.adb_reverse)

    @property
    def report_path(self) -> Path:
        """The report.json that this run writes."""
        return self.output_dir / "report.json"

    @property
    def device_argument(self) -> str | None:
        """What follows the device's name, such as SERIAL in "android:SERIAL"; None if nothing."""
        return self.device.partition(":")[2] or None

    def cases(self) -> list[BenchmarkCase]:
        """Returns each model with each delegate and thread count."""
        # Imported here, because a wrong option shall be reported before a model reader is loaded.
        from bokeh_bench.measure.cases import benchmark_matrix

        return list(benchmark_matrix(self.model_paths, self.delegates, self.threads or [None]))

    def check(self) -> None:
        """Checks the combination of options before anything is measured.

        Raises:
            InputError: If options contradict each other.
        """
        for given, needed, message in (
            (self.targets, self.dataset, "--targets needs --dataset with the sharp photos"),
            (self.photos, self.source, "--photos needs --source, the model to run on them"),
            (self.max_slowdown, self.compare, "--max-slowdown needs --compare, an older report"),
            (self.max_psnr_drop, self.compare, "--max-psnr-drop needs --compare, an older report"),
            *(
                (
                    self.metric_limits.get(metric.key),
                    self.compare,
                    f"{option_name(metric)} needs --compare, an older report",
                )
                for metric in all_metrics()
            ),
        ):
            if given is not None and needed is None:
                raise InputError(message)
        if self.source is not None and self.reference is not None:
            raise InputError("--source and --reference exclude each other; give one")
        self._check_compare()
        self._check_device()
        _ = self.engine  # reads the value ranges and the size
        if self.pair:
            self._check_pair()
        names = [path.name for path in self.model_paths]
        if not self.pair and len(set(names)) < len(names):
            raise InputError(
                "two models have the same file name, which identifies the rows; rename one"
            )

    def _check_compare(self) -> None:
        if self.compare is None:
            return
        if self.max_slowdown is None and self.max_psnr_drop is None and not self.metric_limits:
            raise InputError(
                "--compare needs a limit: --max-slowdown 5%, --max-psnr-drop 0.2 or "
                "--max-grain-increase 0.05"
            )
        if self.compare.resolve() == self.report_path.resolve():
            raise InputError(
                f"{self.compare}: this run would overwrite it; choose another --output-dir"
            )

    def _check_device(self) -> None:
        if not find_device(self.device).takes_dataset and self.dataset is not None:
            raise InputError(
                f"--device {self.device} runs the reference photos only; omit --dataset"
            )
        if (self.serve_on or self.adb_reverse) and not find_device(self.device).serves_pages:
            raise InputError("--serve-on and --adb-reverse need --device web")
        unused = [option for option in self.given if option in find_device(self.device).unused]
        if unused:
            raise InputError(
                f"{', '.join(unused)}: without effect on --device {self.device}; omit "
                f"{'it' if len(unused) == 1 else 'them'}"
            )
        self.serving.bind()
        for value, option in (
            (self.input_range, "--input-range"),
            (self.output_range, "--output-range"),
            (self.size, "--size"),
            (self.signature, "--signature"),
        ):
            if value is not None and not find_device(self.device).takes_graph_options:
                raise InputError(
                    f"{option}: --device {self.device} goes by the metadata of bokeh-convert; omit "
                    "--device, or convert the network with bokeh-convert"
                )

    def _check_pair(self) -> None:
        if len(self.model_paths) != 2 or len(self.delegates) != 1 or len(self.threads or [0]) != 1:
            raise InputError("--pair takes two models, one delegate and one thread count")
        if not find_device(self.device).takes_pair:
            raise InputError("--pair measures on this machine; omit --device")
