"""What `convert` returns, and the names of the files that it writes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # for its type alone: it is imported when TensorFlow is
    from bokeh_convert.report import ConversionReport


@dataclass(frozen=True)
class Conversion:
    """One converted file.

    Attributes:
        path: The .tflite file. Under another name (`*.failed.tflite`) if it did not pass.
        report_path: Its report, as JSON.
        reference_path: The reference pack, the same for all files of a run.
        comparison_path: The side-by-side picture, the same for all files of a run.
        report: What the file is and how faithful.
    """

    path: Path
    report_path: Path
    reference_path: Path
    comparison_path: Path
    report: ConversionReport


@dataclass(frozen=True)
class FileNames:
    """The names of the files of one run.

    Args:
        model: Name of the trained model, without a suffix.
    """

    model: str

    @property
    def reference(self) -> str:
        return f"{self.model}.reference.npz"

    @property
    def comparison(self) -> str:
        return f"{self.model}.comparison.png"

    def tflite(self, scheme: str, *, passed: bool = True) -> str:
        return f"{self._stem(scheme, passed)}.tflite"

    def report(self, scheme: str, *, passed: bool = True) -> str:
        return f"{self._stem(scheme, passed)}.report.json"

    def trade_off(self, scheme: str) -> str:
        return f"{self.model}_{scheme}.trade_off.png"

    def _stem(self, scheme: str, passed: bool) -> str:
        return f"{self.model}_{scheme}" + ("" if passed else ".failed")
