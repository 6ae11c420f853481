"""Where models can be measured: this machine, a phone over adb or in a browser, ARM under QEMU.

A module or sub-package that is put here and has a `DEVICE` is found by itself. It imports what it
needs to measure inside of that function, because all are imported to list them in the help.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from bokeh_runtime.discovery import modules_in
from bokeh_runtime.errors import InputError

if TYPE_CHECKING:
    from bokeh_bench.measure.references import FullModelReferences
    from bokeh_bench.measure.rows import Report
    from bokeh_bench.options import Options

DEFAULT_DEVICE = "host"
OF_THIS_INTERPRETER = ("--interpreter", "--delegate-library", "--allow-partial", "--no-operators")
"""Options that have no effect where another program than this one runs the models."""


class Progress(Protocol):
    """Tells the user how far a measurement is."""

    def __call__(self, step: str, /) -> None:
        """Shows the current step, on a terminal only."""

    def announce(self, text: str, /) -> None:
        """Prints lines that the user must read, in a pipe too."""

    @property
    def is_terminal(self) -> bool:
        """Whether there is a terminal."""


class Measure(Protocol):
    """Measures the models of a run on a device."""

    def __call__(
        self,
        options: Options,
        report: Report,
        full_model: FullModelReferences,
        progress: Progress,
    ) -> Iterator[Report]:
        """Yields the report each time that it has more rows.

        Args:
            options: What to measure; `options.device_argument` is what follows the device's name.
            report: The report without rows.
            full_model: Source of the full model's reference outputs.
            progress: Called with a description of each step.

        Raises:
            InputError: If an input cannot be read.
            HardwareError: If the device is not available.
        """


@dataclass(frozen=True)
class Device:
    """A value of `--device`.

    Attributes:
        name: The value.
        summary: One line for the help.
        measure: Measures on it.
        argument: What may follow the name after a colon, for the help; "" if nothing may.
        takes_dataset: Whether it also compares with the ground truth of `--dataset`.
        takes_graph_options: Whether it takes `--input-range`, `--output-range`, `--size` and
            `--signature`; otherwise it goes by the files alone.
        takes_pair: Whether it measures interleaved runs of two models (`--pair`).
        serves_pages: Whether it takes `--serve-on` and `--adb-reverse`.
        unused: Other options that have no effect on it, such as "--threads"; they are refused.
    """

    name: str
    summary: str
    measure: Measure
    argument: str = ""
    takes_dataset: bool = False
    takes_pair: bool = False
    takes_graph_options: bool = False
    serves_pages: bool = False
    unused: Collection[str] = ()

    @property
    def usage(self) -> str:
        """The value as the help shows it, such as "android[:SERIAL]"."""
        return f"{self.name}[:{self.argument}]" if self.argument else self.name


def devices() -> Mapping[str, Device]:
    """Returns the devices of this package by their names, in alphabetical order.

    Raises:
        TypeError: If a module has no `DEVICE`.
    """
    found = {}
    for module in modules_in(__name__, __path__):
        device = getattr(module, "DEVICE", None)
        if not isinstance(device, Device):
            raise TypeError(f"{module.__name__} has no DEVICE")
        found[device.name] = device
    return dict(sorted(found.items()))


def find_device(value: str) -> Device:
    """Returns the device that a value of `--device`, such as "android:SERIAL", stands for.

    Raises:
        InputError: If there is none; the message lists the devices.
    """
    name, colon, _ = value.partition(":")
    known = devices()
    if name not in known or (colon and not known[name].argument):
        *most, last = (device.usage for device in known.values())
        raise InputError(f"--device {value}: use {', '.join(most)} or {last}")
    return known[name]
