from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bokeh_runtime.errors import InputError
from bokeh_runtime.staging import Staging


def test_files_appear_together_at_the_end(tmp_path: Path) -> None:
    with Staging(tmp_path / "new" / "folder") as staging:
        staging.path("a.txt").write_text("a")
        staging.path("b.txt").write_text("b")
        assert not (tmp_path / "new" / "folder" / "a.txt").exists()
        staging.commit()
    assert sorted(p.name for p in (tmp_path / "new" / "folder").iterdir()) == ["a.txt", "b.txt"]


def test_an_error_leaves_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("good")

    def fail() -> None:
        with Staging(tmp_path) as staging:
            staging.path("a.txt").write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "good"


def test_a_killed_run_leaves_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("good")
    program = (
        "import sys, pathlib, os, signal\n"
        "from bokeh_runtime.staging import Staging\n"
        "with Staging(pathlib.Path(sys.argv[1])) as staging:\n"
        "    staging.path('a.txt').write_text('half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    ended = subprocess.run([sys.executable, "-c", program, tmp_path], check=False)
    assert ended.returncode == -signal.SIGKILL
    assert (tmp_path / "a.txt").read_text() == "good"


def test_a_full_disk_is_said_and_nothing_changed(tmp_path: Path) -> None:
    def fill() -> None:
        with Staging(tmp_path) as staging:
            staging.path("a.txt").write_text("half")
            raise OSError(28, os.strerror(28))

    with pytest.raises(InputError, match="No space left on device"):
        fill()
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written to"):
        Staging(tmp_path / "file" / "folder")
