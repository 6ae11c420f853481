"""The result of `convert`, and the names of the files that it writes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # at run time it is imported together with TensorFlow
    from bokeh_convert.report import ConversionReport


@dataclass(frozen=True)
class Conversion:
    """One converted file.

    Attributes:
        path: The .tflite file; `*.failed.tflite` if it did not pass.
        report_path: The report, as JSON.
        reference_path: The reference pack, shared by all files of a run.
        comparison_path: The side-by-side picture, shared by all files of a run.
        report: The report.
        npu_paths: The files that were compiled for NPUs.
    """

    path: Path
    report_path: Path
    reference_path: Path
    comparison_path: Path
    report: ConversionReport
    npu_paths: Sequence[Path] = ()


@dataclass(frozen=True)
class FileNames:
    """Names of the files of one run.

    Args:
        model: Name of the trained model, without a suffix.
    """

    model: str

    @property
    def reference(self) -> str:
        """Name of the reference pack."""
        return f"{self.model}.reference.npz"

    @property
    def comparison(self) -> str:
        """Name of the side-by-side picture."""
        return f"{self.model}.comparison.png"

    def tflite(self, scheme: str, *, passed: bool = True) -> str:
        """Returns the name of the .tflite file of a scheme."""
        return f"{self._stem(scheme, passed)}.tflite"

    def report(self, scheme: str, *, passed: bool = True) -> str:
        """Returns the name of the report on that file."""
        return f"{self._stem(scheme, passed)}.report.json"

    def npu(self, scheme: str, npu: str) -> str:
        """Returns the name of the file of a scheme that is compiled for an NPU.

        Args:
            scheme: The scheme.
            npu: The NPU as a part of a file name, such as "qualcomm-SM8650".
        """
        return f"{self.model}_{scheme}.{npu}.tflite"

    def trade_off(self, scheme: str) -> str:
        """Returns the name of the plot of PSNR against cost."""
        return f"{self.model}_{scheme}.trade_off.png"

    def _stem(self, scheme: str, passed: bool) -> str:
        return f"{self.model}_{scheme}" + ("" if passed else ".failed")
