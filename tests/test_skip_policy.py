"""What tests/conftest.py makes of skipped tests, in one process and with pytest-xdist in two."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.skips import ELSEWHERE, LOG, REQUIRE_ALL

TESTS = Path(__file__).parent
A_TEST = f"""
import pytest
def test_needs_a_device(): pytest.skip("no device")
def test_runs_in_another_environment(): pytest.skip("{ELSEWHERE}no TensorFlow")
def test_runs(): pass
"""
A_FILE = 'import pytest\npytest.skip("no browser", allow_module_level=True)\n'


def outcome(folder: Path, *options: str, **environment: str) -> tuple[int, list[str]]:
    """Exit code, and the reasons that were logged."""
    (folder / "tests").mkdir()
    shutil.copy(TESTS / "conftest.py", folder / "tests")
    shutil.copytree(TESTS / "helpers", folder / "tests" / "helpers")
    (folder / "tests" / "test_some.py").write_text(A_TEST)
    (folder / "tests" / "test_whole_file.py").write_text(A_FILE)
    (folder / "pytest.ini").write_text("[pytest]\npythonpath = tests\n")
    log = folder / "skipped.txt"
    # A worker of pytest-xdist that runs this test must not make the inner run take itself for one.
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_XDIST")}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *options],
        cwd=folder,
        env={**inherited, REQUIRE_ALL: "", LOG: str(log), **environment},
        capture_output=True,
        check=False,
    )
    return done.returncode, sorted(log.read_text().splitlines())


@pytest.mark.slow
@pytest.mark.parametrize("processes", ["0", "2"])
def test_each_reason_is_listed_once_and_skipping_may_be_forbidden(
    processes: str, tmp_path: Path
) -> None:
    free, strict = tmp_path / "free", tmp_path / "strict"
    free.mkdir()
    strict.mkdir()
    options = ("-n", processes, "--dist", "worksteal", "--continue-on-collection-errors")
    assert outcome(free, *options) == (0, ["no browser", "no device"])
    assert outcome(strict, *options, **{REQUIRE_ALL: "1"}) == (1, ["no browser", "no device"])
