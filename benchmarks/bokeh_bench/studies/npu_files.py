"""The converted files of the studies of NPUs, which are kept from one run to the next."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bokeh_bench.code_digest import code_digests
from bokeh_convert import convert
from bokeh_convert.report import tool_versions
from bokeh_convert.result import FileNames

SCHEMES = ("float16", "int8", "full-integer", "int16x8")


@dataclass(frozen=True)
class Plan:
    """What to measure.

    Attributes:
        size: Height and width of the input, in pixels.
        threads: CPU threads.
        npus: The NPUs, such as "qualcomm:SM8650".
        emulated: Those of them that are emulated.
        photos: Number of verification photos to emulate; 0 for none.
        folder: Where everything is kept. What is there is not computed again.
    """

    size: tuple[int, int]
    threads: int
    npus: Sequence[str]
    emulated: Sequence[str]
    photos: int
    folder: Path


def converted(
    model: Path,
    plan: Plan,
    folder: Path,
    progress: Callable[[str], None],
    *,
    npus: Sequence[str] = (),
    targets: Sequence[str] = (),
) -> list[dict[str, Any]]:
    """Converts a trained model with every scheme, unless an earlier run did the same.

    Args:
        model: The trained model.
        plan: Size and threads.
        folder: Folder for the files.
        progress: Called with a description of each step.
        npus: NPUs to compile for.
        targets: What the files must run on; see `bokeh_convert.convert`.

    Returns:
        The reports, in the order of `SCHEMES`.

    Raises:
        HardwareError: If a compiler is missing or fails.
        InputError: If the model cannot be converted.
    """
    wanted = {
        "model": hashlib.sha256(model.read_bytes()).hexdigest() if model.is_file() else model.name,
        "size": list(plan.size),
        "npus": list(npus),
        "targets": list(targets),
        "tools": tool_versions(),
        "code": {
            name: digest
            for name, digest in code_digests().items()
            if name.startswith("bokeh_convert")
        },
    }
    kept, names = folder / "conversion.json", FileNames(model.stem)
    if not kept.exists() or json.loads(kept.read_text(encoding="utf-8")) != wanted:
        progress("converting and compiling")
        convert(
            model,
            quant=SCHEMES,
            size=plan.size,
            threads=plan.threads,
            npu=npus,
            targets=targets,
            allow_partial=True,
            output_dir=folder,
        )
        kept.write_text(json.dumps(wanted, indent=1), encoding="utf-8")
    return [
        json.loads((folder / names.report(scheme)).read_text(encoding="utf-8"))
        for scheme in SCHEMES
    ]
