"""The app's copy of the constants is the contract's."""

from __future__ import annotations

import importlib.util
from pathlib import Path

PROGRAM = Path(__file__).parents[2] / "android_demo/contract.py"


def test_the_apps_copy_is_up_to_date() -> None:
    spec = importlib.util.spec_from_file_location("android_contract", PROGRAM)
    assert spec is not None
    assert spec.loader is not None
    program = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(program)
    assert program.TARGET.read_text(encoding="utf-8") == program.kotlin(), (
        "call python android_demo/contract.py"
    )
