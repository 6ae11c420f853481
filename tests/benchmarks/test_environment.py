"""The ARM environment is made once, and again where what it is made from changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from bokeh_bench.devices.arm64.environment import _step


class Make:
    """Makes a folder or a file, and counts how often."""

    def __init__(self, *, folder: bool) -> None:
        self.folder, self.count = folder, 0

    def __call__(self, target: Path) -> None:
        self.count += 1
        if self.folder:
            target.mkdir()
            (target / f"made {self.count}").touch()
        else:
            target.write_text(f"made {self.count}")


@pytest.mark.parametrize("folder", [True, False])
def test_a_step_is_done_again_for_other_versions_alone(tmp_path: Path, folder: bool) -> None:
    make, target = Make(folder=folder), tmp_path / "site"
    for made_from, count in (("litert 1", 1), ("litert 1", 1), ("litert 2", 2), ("litert 2", 2)):
        _step(target, made_from, make)
        assert make.count == count
        found = [path.name for path in target.iterdir()] if folder else [target.read_text()]
        assert found == [f"made {count}"]


def test_an_interrupted_step_is_done_again(tmp_path: Path) -> None:
    def stop(target: Path) -> None:
        target.write_text("half")
        raise KeyboardInterrupt

    make, target = Make(folder=False), tmp_path / "count.so"
    _step(target, "1", make)
    with pytest.raises(KeyboardInterrupt):
        _step(target, "2", stop)
    _step(target, "1", make)  # what is there may not be trusted
    assert (make.count, target.read_text()) == (2, "made 2")


def test_what_does_not_say_what_it_was_made_from_is_made_again(tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    make = Make(folder=True)
    _step(tmp_path / "site", "litert 1", make)
    assert make.count == 1
