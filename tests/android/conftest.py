"""What `make android` built; the tests that need it are skipped, or fail, without."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

BUILT = Path(__file__).parents[2] / "build/android"
REQUIRED = "BOKEH_TESTS_NEED_ANDROID"


@pytest.fixture
def built() -> Path:
    """The folder of `make android`."""
    if not (BUILT / "report.json").is_file():
        if os.environ.get(REQUIRED):
            pytest.fail(f"{REQUIRED} is set, but there is no {BUILT / 'report.json'}")
        pytest.skip("the app was not built; run: make android")
    return BUILT
