"""What `make android` built; the tests that need it are skipped without."""

from __future__ import annotations

from pathlib import Path

import pytest

BUILT = Path(__file__).parents[2] / "build/android"


@pytest.fixture
def built() -> Path:
    """The folder of `make android`."""
    if not (BUILT / "report.json").is_file():
        pytest.skip("the Android app was not built")
    return BUILT
