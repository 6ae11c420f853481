"""Writes the pages' copy of the contract's numbers, `contract.js`: call it after each change there.

A test fails while the copy is not what this program writes.
"""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

from bokeh_bench.devices.web.request import REQUEST_SCHEMA
from bokeh_runtime.contract import constants

TARGET = Path(__file__).parent / "site/pipeline/contract.js"


def javascript() -> str:
    """Returns the text of `contract.js`."""
    sections = (constants.PREPARE, constants.JOIN, constants.BENCHMARK)
    values = {
        field.name.upper(): getattr(section, field.name)
        for section in sections
        for field in fields(section)
    }
    values |= {
        f"GPU_CHECK_{field.name.upper()}": getattr(constants.GPU_CHECK, field.name)
        for field in fields(constants.GPU_CHECK)
    }
    values["REQUEST_SCHEMA"] = REQUEST_SCHEMA
    lines = [f"export const {name} = {json.dumps(value)};" for name, value in values.items()]
    return (
        "/**\n"
        " * What the pages share with the other languages: docs/contract.md. Written by\n"
        " * web/contract.py from runtime/bokeh_runtime/contract/; change it there.\n"
        " */\n\n" + "\n".join(lines) + "\n"
    )


if __name__ == "__main__":
    TARGET.write_text(javascript(), encoding="utf-8")
