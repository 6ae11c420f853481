"""Writes the app's copy of the contract's numbers, `Contract.kt`: call it after each change there.

A test fails while the copy is not what this program writes.
"""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

from bokeh_bench.devices.android import measure as android
from bokeh_runtime.contract import constants
from bokeh_runtime.tflite import metadata

TARGET = Path(__file__).parent / "core/src/main/kotlin/io/github/bokehtflite/core/Contract.kt"


def kotlin() -> str:
    """Returns the text of `Contract.kt`."""
    formats = {
        "MODEL": metadata.SCHEMA,
        "ANDROID_REQUEST": android.REQUEST_SCHEMA,
        "ANDROID_STATUS": android.STATUS_SCHEMA,
        "ANDROID_RESULT": android.RESULT_SCHEMA,
    }
    sections = [
        _section("Schemas", "Names and versions of what is read and written.", formats),
        _section("Prepare", "See `Prepare` in `constants.py`.", _values(constants.PREPARE)),
        _section("Join", "See `Join` in `constants.py`.", _values(constants.JOIN)),
        _section("GpuCheck", "See `GpuCheck` in `constants.py`.", _values(constants.GPU_CHECK)),
        _section("Benchmark", "See `Benchmark` in `constants.py`.", _values(constants.BENCHMARK)),
        _section(
            "Nnapi",
            "API levels; the next after the last, Android 15, deprecates it.",
            {"LAST_API_LEVEL": constants.LAST_ANDROID_WITH_NNAPI},
        ),
    ]
    return (
        "package io.github.bokehtflite.core\n\n"
        "/**\n"
        " * What the app shares with the other languages: docs/contract.md. Written by android_demo/contract.py\n"  # noqa: E501
        " * from runtime/bokeh_runtime/contract/; change it there.\n"
        " */\n"
        "object Contract {\n" + "\n\n".join(sections) + "\n}\n"
    )


def _values(section: object) -> dict[str, object]:
    assert hasattr(section, "__dataclass_fields__")
    names = [field.name for field in fields(section)]  # type: ignore[arg-type]
    return {name.upper(): getattr(section, name) for name in names}


def _section(name: str, about: str, values: dict[str, object]) -> str:
    lines = [f"        {_line(key, value)}" for key, value in values.items()]
    return "\n".join([f"    /** {about} */", f"    object {name} {{", *lines, "    }"])


def _line(key: str, value: object) -> str:
    if isinstance(value, tuple):
        texts = ", ".join(f'"{text}"' for text in value)
        return f"val {key} = listOf({texts})"
    return (
        f'const val {key} = "{value}"' if isinstance(value, str) else f"const val {key} = {value}"
    )


if __name__ == "__main__":
    TARGET.write_text(kotlin(), encoding="utf-8")
