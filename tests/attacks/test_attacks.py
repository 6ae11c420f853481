"""Each file of the corpus works on the plain library, and does nothing here."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from attacks.corpus import ATTACKS
from attacks.prove import remove
from bokeh_convert.sources import read_model
from bokeh_runtime import InputError
from helpers.commands import command

TESTS = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def proofs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the plain libraries did with each file, in one process without this project."""
    folder = tmp_path_factory.mktemp("attacks")
    done = subprocess.run(
        [sys.executable, "-m", "attacks.prove", folder],
        env={**os.environ, "PYTHONPATH": str(TESTS), "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads((folder / "proofs.json").read_text())


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(ATTACKS))
def test_it_works_on_the_plain_library(name: str, proofs: dict[str, Any]) -> None:
    seen, said = proofs[name]["seen"], proofs[name]["said"]
    if ATTACKS[name].stopped_by:
        assert not seen
        assert re.search(ATTACKS[name].stopped_by, said), said
    else:
        assert seen, f"the file does not do what it is here for: {said}"


@pytest.mark.parametrize("name", sorted(name for name in ATTACKS if ATTACKS[name].refusal))
def test_it_is_refused(name: str, proofs: dict[str, Any]) -> None:
    path, mark = Path(proofs[name]["path"]), Path(proofs[name]["mark"])
    remove(mark)
    with pytest.raises(InputError, match=ATTACKS[name].refusal) as refusal:
        # Reading may pass where only the traced graph shows the operator.
        read_model(path).at(8, 8)
    assert str(refusal.value).startswith(str(path))
    assert "\n" not in str(refusal.value)
    assert not mark.exists()


@pytest.mark.parametrize("name", sorted(name for name in ATTACKS if not ATTACKS[name].refusal))
def test_what_nobody_reads_does_nothing(name: str, proofs: dict[str, Any]) -> None:
    path, mark = Path(proofs[name]["path"]), Path(proofs[name]["mark"])
    remove(mark)
    read_model(path).at(8, 8).run(np.zeros((8, 8, 3), np.float32))
    assert not mark.exists()


@pytest.mark.slow
def test_the_command_refuses_it_in_one_line(proofs: dict[str, Any], tmp_path: Path) -> None:
    path = Path(proofs["keras_2.operator_for_debugging"]["path"])
    mark = Path(proofs["keras_2.operator_for_debugging"]["mark"])
    remove(mark)
    done = command("bokeh-convert", path, "--output-dir", tmp_path, cwd=tmp_path)
    assert done.returncode == 2
    assert re.search("the operator DebugIdentity", done.stderr.replace("\n", " "))
    assert "Traceback" not in done.stderr
    assert not mark.exists()
    assert not list(tmp_path.iterdir())
