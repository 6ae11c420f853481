"""Compiles a .tflite file for an NPU with LiteRT's tool and the vendor's compiler plugin."""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bokeh_convert.graph.op_inventory import read_operators
from bokeh_convert.npu.compiled_file import left_operators
from bokeh_convert.npu.compiler_log import (
    first_error,
    read_partitioning,
    read_sdk_version,
    refusals,
)
from bokeh_convert.npu.libraries import Toolchain
from bokeh_convert.npu.vendors import NpuTarget
from bokeh_runtime.errors import InputError
from bokeh_runtime.tflite.file import parse_tflite

TIMEOUT_S = 3600


@dataclass(frozen=True)
class RefusedOperators:
    """Operators of one name that the compiler leaves to the CPU, for one reason.

    Attributes:
        operator: Such as "CONV_2D".
        count: How often.
        reason: In the compiler's own words; "" if it gives none.
    """

    operator: str
    count: int
    reason: str


@dataclass(frozen=True)
class NpuBuild:
    """What the compiler made of a file.

    Attributes:
        npu: The NPU.
        content: The compiled file; None if the compiler failed.
        operators: Number of operators in the file that was compiled.
        taken: How many of them run on the NPU.
        parts: Into how many parts those are cut; the CPU runs what is between.
        refused: The operators that the CPU runs, the most frequent first.
        failure: Why there is no compiled file; None if there is one.
        seconds: Duration of the compilation.
        tools: Versions of the tools, by their names.
    """

    npu: NpuTarget
    content: bytes | None
    operators: int
    taken: int
    parts: int
    refused: Sequence[RefusedOperators]
    failure: str | None
    seconds: float
    tools: Mapping[str, str]

    @property
    def whole(self) -> bool:
        """Whether the NPU runs every operator."""
        return self.content is not None and self.taken == self.operators and not self.refused


def compile_file(content: bytes, npu: NpuTarget, toolchain: Toolchain) -> NpuBuild:
    """Compiles a .tflite file for an NPU.

    A file that the compiler takes in part, or not at all, is no error: see `NpuBuild.whole`.

    Raises:
        InputError: If LiteRT's tool hangs.
    """
    operators = [operator.name for operator in read_operators(content)]
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="bokeh-npu-") as folder:
        source, made = Path(folder) / "source.tflite", Path(folder) / "compiled.tflite"
        source.write_bytes(content)
        done = _run_tool(source, made, npu, toolchain)
        compiled = made.read_bytes() if made.is_file() else b""
    seconds = round(time.monotonic() - start, 2)
    tools = dict(toolchain.versions)
    sdk = read_sdk_version(done.stderr)
    if sdk is not None:
        tools[f"{npu.vendor.title} libraries"] = sdk
    refused = _grouped(refusals(done.stdout, done.stderr), operators)
    found = read_partitioning(done.stderr)
    if done.returncode or not compiled or found is None:
        failure = first_error(done.stderr)
        return NpuBuild(npu, None, len(operators), 0, 0, refused, failure, seconds, tools)
    # The log names what was refused, and the file shows it: the file counts.
    left = left_operators(parse_tflite(Path(f"the file for {npu.name}"), compiled))
    return NpuBuild(
        npu,
        compiled,
        len(operators),
        len(operators) - sum(left.values()),
        found.parts,
        list(_in_file(refused, left)),
        None if found.taken else "the compiler takes none of its operators",
        seconds,
        tools,
    )


def _run_tool(
    source: Path, made: Path, npu: NpuTarget, toolchain: Toolchain
) -> subprocess.CompletedProcess[str]:
    vendor = npu.vendor
    command = [
        str(toolchain.tool),
        "--cmd=apply",
        f"--model={source}",
        f"--o={made}",
        f"--soc_manufacturer={vendor.manufacturer}",
        f"--soc_model={npu.chip.lower() if vendor.lower_case else npu.chip}",
        "--err=--",
        f"--libs={toolchain.plugin}",
        *vendor.options.get(npu.chip, ()),
    ]
    try:
        return subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            env=toolchain.environment,
            timeout=TIMEOUT_S,
        )
    except subprocess.TimeoutExpired as error:
        raise InputError(
            f"{npu.name}: the compiler did not end within {TIMEOUT_S} s; convert a smaller model"
        ) from error


def _grouped(reasons: Mapping[int, str], operators: Sequence[str]) -> list[RefusedOperators]:
    counts = Counter(
        (operators[index], reason) for index, reason in reasons.items() if index < len(operators)
    )
    return [RefusedOperators(name, count, reason) for (name, reason), count in counts.most_common()]


def _in_file(
    refused: Sequence[RefusedOperators], left: Mapping[str, int]
) -> Iterator[RefusedOperators]:
    """Yields the refused operators so that each that is left in the file counts once."""
    for name, count in Counter(left).most_common():
        named = [each for each in refused if each.operator == name]
        if sum(each.count for each in named) == count:
            yield from named
        else:
            reasons = dict.fromkeys(each.reason for each in named if each.reason)
            yield RefusedOperators(name, count, "; ".join(reasons))
