"""The options of `bokeh-convert` for NPUs, and what the command shows of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TextIO, TypeVar

import click
from rich.table import Table

from bokeh_convert.npu.libraries import find_toolchain, licence_notice
from bokeh_convert.npu.vendors import VENDORS, NpuTarget, Vendor, find_npus
from bokeh_convert.result import Conversion
from bokeh_runtime.errors import HardwareError, InputError
from bokeh_runtime.metrics.psnr import psnr_text
from bokeh_runtime.metrics.registry import conversion_metrics

if TYPE_CHECKING:
    from bokeh_convert.report import ConversionReport

Command = TypeVar("Command", bound=Callable[..., Any])


class _Npus(click.ParamType):  # type: ignore[type-arg]
    name = "VENDOR:CHIP"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[str, ...]:
        names = tuple(value.split(","))
        try:
            find_npus(names)
        except InputError as error:
            self.fail(error.in_options({"npu": "--npu"}).removeprefix("--npu "), param, ctx)
        return names


def npu_options(command: Command) -> Command:
    """Adds the options for NPUs to a command."""
    options = (
        click.option(
            "--npu",
            type=_Npus(),
            multiple=True,
            help="Also compile each file that passed for this NPU, such as qualcomm:SM8650; "
            "several are separated by commas. See --list-npus.",
        ),
        click.option(
            "--list-npus",
            is_flag=True,
            help="Show the NPUs that files can be compiled for, which compilers are installed and "
            "how to get the others, and exit.",
        ),
        click.option(
            "--allow-partial",
            is_flag=True,
            help="Also write compiled files of which the CPU has to run some operators.",
        ),
        click.option(
            "--emulate",
            is_flag=True,
            help="Run the compiled files on the vendor's emulator of the NPU, and compare their "
            "output with the full model's. A photo takes 20 seconds to several minutes.",
        ),
        click.option(
            "--emulate-photos",
            metavar="N",
            type=click.IntRange(min=1),
            help="The same with this number of verification photos; --emulate takes one.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def show_licences(stderr: TextIO, names: Sequence[str]) -> None:
    """Shows where the licences of the vendors' libraries are, the first time they are used.

    Raises:
        HardwareError: If a compiler is not installed.
    """
    for npu in {npu.vendor.name: npu for npu in find_npus(names)}.values():
        notice = licence_notice(npu.vendor, find_toolchain(npu))
        if notice is not None:
            click.echo(f"note: {notice}", file=stderr)


def exit_code_for(conversions: Sequence[Conversion], *, allow_partial: bool) -> int:
    """Returns the exit code of a conversion that wrote its files."""
    reports = [conversion.report for conversion in conversions]
    made = [each for report in reports for each in report.npu]
    invalid = any(each["emulation"] and each["emulation"]["failure"] for each in made)
    if invalid or not all(report.passed for report in reports):
        return 1
    refused = [each for each in made if not (each["whole"] or (allow_partial and each["file"]))]
    return 3 if refused else 0


def npu_table(reports: Sequence[ConversionReport]) -> Table | None:
    """Returns what the NPUs run of each file; None if there are none."""
    rows = [(report, made) for report in reports for made in report.npu]
    if not rows:
        return None
    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in ("NPU", "file"):
        table.add_column(heading, overflow="fold")
    shown = [metric for metric in conversion_metrics() if metric.in_tables]
    emulated = ("PSNR emulated", *(metric.label for metric in shown))
    for heading in ("operators", "parts", "compiled in", "size", *emulated):
        table.add_column(heading, justify="right")
    for report, made in rows:
        fidelity = (made["emulation"] or {}).get("fidelity")
        size = made["size_bytes"]
        table.add_row(
            made["npu"],
            report.scheme,
            f"{made['taken']}/{made['operators']}",
            str(made["parts"]),
            f"{made['compile_s']:.0f} s",
            "" if size is None else f"{size / 1e6:.2f} MB",
            psnr_text(fidelity["psnr_db_mean"]) if fidelity else "",
            *(metric.text(fidelity[f"{metric.key}_mean"]) if fidelity else "" for metric in shown),
        )
    return table


def npu_remarks(report: ConversionReport) -> Iterator[str]:
    """Yields why an NPU does not run a file whole, and what is wrong with its output."""
    for made in report.npu:
        emulation = made["emulation"]
        if not made["whole"]:
            yield f"{made['npu']}: {_shortfall(made)}"
        if emulation and emulation["failure"]:
            yield f"FAILED {made['npu']}, emulated: {emulation['failure']}"
        elif emulation:
            yield (
                f"{made['npu']}: {len(emulation['fidelity']['images'])} photos by the "
                f"{emulation['computed_by']}, {emulation['seconds_per_photo']:.0f} s each"
            )


def _shortfall(made: dict[str, Any]) -> str:
    if made["failure"] is not None:
        return f"not compiled: {made['failure']}"
    refused = "; ".join(
        f"{each['count']} {each['operator']}" + (f": {each['reason']}" if each["reason"] else "")
        for each in made["refused"]
    )
    remedy = "" if made["file"] else " (--allow-partial writes the file all the same)"
    return f"the CPU has to run {refused}{remedy}"


def show_npus() -> None:
    """Shows what `--list-npus` asks for."""
    for vendor in VENDORS.values():
        click.echo(f"{vendor.title}: {_state(vendor)}")
        names = {NpuTarget(vendor, chip).name: remark for chip, remark in vendor.chips.items()}
        for name, remark in names.items():
            if remark:
                click.echo(f"  {name}  {remark}")
        plain = [name for name, remark in names.items() if not remark]
        if plain:
            click.echo(click.wrap_text(", ".join(plain), 100, "  ", "  "))


def _state(vendor: Vendor) -> str:
    try:
        toolchain = find_toolchain(NpuTarget(vendor, next(iter(vendor.chips))))
    except HardwareError as error:
        return f"cannot be compiled here: {error.cause.partition(': ')[2]}"
    packages = ", ".join(f"{name} {number}" for name, number in toolchain.versions.items())
    return f"compiled here by {packages}" + ("; can be emulated" if vendor.has_emulator else "")
