"""Tests that drive the vendors' software: `make npu` sets it up in an environment of its own.

In `make test` they are skipped where that was not run, and run there where it was.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest

from helpers.skips import ELSEWHERE

ROOT = Path(__file__).parents[2]
MODULES = ("onnx", "onnxruntime", "onnxruntime_qnn", "openvino")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    missing = [name for name in MODULES if importlib.util.find_spec(name) is None]
    if not missing:
        return
    reason = f"{', '.join(missing)} not installed: make npu"
    if (ROOT / ".venv-npu/bin/pytest").exists():
        reason = f"{ELSEWHERE}.venv-npu"
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache folder of its own, so that the user's is not touched."""
    folder = tmp_path_factory.mktemp("cache")
    os.environ["BOKEH_CACHE"] = str(folder)
    return folder
