"""Library calls leave the state of the process unchanged; commands may change it."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bokeh_convert.process_state import search_path

# Run in a separate process. The libraries are imported before the state is recorded, because
# importing them changes it.
PROGRAM = """
import locale, logging, os, pathlib, random, signal, sys, warnings
from concurrent.futures import ThreadPoolExecutor

import cv2, matplotlib, numpy as np
import absl.logging, keras, litert_quantizer, tensorflow as tf, tf_keras
from litert_quantizer import quantizer
from PIL import Image

work, what = pathlib.Path(sys.argv[1]), sys.argv[2]


def state():
    loggers = logging.root.manager.loggerDict.items()
    return {
        "environment": dict(os.environ),
        "sys.path": list(sys.path),
        "logging": (
            logging.root.manager.disable,
            logging.root.level,
            list(logging.root.handlers),
            {n: (l.level, l.disabled) for n, l in loggers if isinstance(l, logging.Logger)},
        ),
        "absl": absl.logging.get_verbosity(),
        "tensorflow's logger": tf.get_logger().level,
        "warnings": list(warnings.filters),
        "numpy's errors": np.geterr(),
        "folder": os.getcwd(),
        "signals": {s: signal.getsignal(s) for s in signal.valid_signals()},
        "streams": (sys.stdout, sys.stderr, *(os.readlink(f"/proc/self/fd/{i}") for i in (1, 2))),
        "threads of OpenCV": cv2.getNumThreads(),
        "Pillow's bound": Image.MAX_IMAGE_PIXELS,
        "matplotlib": {n: matplotlib.rcParams[n] for n in matplotlib.rcParams if n != "backend"},
        "matplotlib's backend": matplotlib.get_backend(auto_select=False),
        "random": random.getstate(),
        "numpy's random": [str(part) for part in np.random.get_state()],
        "Keras": (keras.config.floatx(), keras.config.image_data_format(), keras.config.backend()),
        "locale": locale.setlocale(locale.LC_ALL),
        "umask": (os.umask(0o22), os.umask(0o22))[1],
    }


def logger_levels_known(before, after):
    # Loggers that were created during the call are not compared.
    kept = {n: v for n, v in after["logging"][3].items() if n in before["logging"][3]}
    return {**after, "logging": (*after["logging"][:3], kept)}


def convert_it(**options):
    from bokeh_convert import convert

    convert(work / "small.keras", output_dir=work / "out", **options)


def imports():
    import bokeh_bench.measure.rows, bokeh_convert.pynet.network
    import bokeh_convert.sources, bokeh_convert.pipeline
    import bokeh_convert.train.trainer, bokeh_runtime
    from bokeh_bench.report import html
    from bokeh_bench.measure import host


def converting():
    convert_it(quant=("float32", "float16", "dynamic", "int8", "full-integer"), trade_off=True)


def converting_in_threads():
    # Two at a time, several times: one may find a state that the other is about to restore.
    def quantize_often():
        from bokeh_convert.quantize.engine import quantize
        from bokeh_convert.quantize.schemes import SCHEMES

        for _ in range(30):
            quantize(content, SCHEMES["float16"])

    content = (work / "out" / "small_float32.tflite").read_bytes()
    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(quantize_often) for _ in range(4)]:
            done.result()


def reading_keras_2():
    from bokeh_convert.sources import SourceOptions, read_model

    read_model(work / "users.h5", SourceOptions(custom_objects=("users_layers:Double",)))


def failing():
    from bokeh_convert.sources import SourceOptions, read_model
    from bokeh_runtime import InputError

    try:
        read_model(work / "users.h5", SourceOptions(custom_objects=("no_such_module:Double",)))
    except InputError:
        return
    raise AssertionError


def training():
    import cv2
    from bokeh_convert.train.pairs import Pair
    from bokeh_convert.train.trainer import TrainConfig, train

    for name in ("sharp.png", "bokeh.png"):
        cv2.imwrite(str(work / name), np.full((64, 64, 3), 90, np.uint8))
    config = TrainConfig(width=0.05, input_channels=3, residual=True, head="l5", by_level=False,
                         steps=2, batch=1, crop=32, short_side=40, paste=0.0, learning_rate=0.001,
                         seed=1)
    train(config, [Pair("a", work / "sharp.png", work / "bokeh.png", None, None)], work / "run")


def rendering():
    from bokeh_runtime import BokehModel, read_photo

    pixels = np.full((70, 90, 3), 90, np.uint8)
    with BokehModel.open(work / "out" / "small_float32.tflite", "cpu") as model:
        model.render(pixels)
    cv2.imwrite(str(work / "photo.png"), pixels)
    read_photo(work / "photo.png")


def benchmarking():
    from bokeh_bench.measure.references import FullModelReferences
    from bokeh_bench.report.html import write_html
    from bokeh_bench.machine import environment
    from bokeh_bench.measure.cases import benchmark_matrix
    from bokeh_bench.measure.host import Settings, measure
    from bokeh_bench.measure.rows import Report

    full_model = FullModelReferences(None, None, None, print)
    settings = Settings(runs=5, seconds=0, full_model=full_model, time_operators=False)
    model = work / "out" / "small_float32.tflite"
    rows = list(measure(benchmark_matrix([model], ["cpu"], [1]), settings, print))
    assert not rows[0].failure, rows[0].failure
    write_html(work / "report.html", Report("now", environment(), rows))


call = globals()[what]
if what == "reading_keras_2":
    os.chdir(work / "users")
before = state()
call()
after = logger_levels_known(before, state())
changed = [name for name in before if before[name] != after[name]]
for name in changed:
    print(name, before[name], after[name], sep="\\n   ")
sys.exit(bool(changed))
"""

USERS_LAYER = """
import os, sys

import tensorflow as tf

assert os.environ["TF_USE_LEGACY_KERAS"] == "1"


class Double(tf.keras.layers.Layer):
    def call(self, inputs):
        return 2 * inputs
"""

WRITE_MODELS = """
import pathlib, sys

sys.path.insert(0, str(pathlib.Path(sys.argv[1]) / "users"))
import os

os.environ["TF_USE_LEGACY_KERAS"] = "1"
import tf_keras
from users_layers import Double

photo = tf_keras.Input((32, 32, 3))
x = tf_keras.layers.Conv2D(3, 3, padding="same")(photo)
tf_keras.Model(photo, Double()(x)).save(pathlib.Path(sys.argv[1]) / "users.h5")
"""


def run(program: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
        env={k: v for k, v in os.environ.items() if not k.startswith(("KERAS_", "TF_"))},
    )


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Keras 3 model, a Keras 2 model with a custom layer, and a conversion."""
    from bokeh_convert import convert
    from helpers.models import small_model

    folder = tmp_path_factory.mktemp("work")
    small_model(size=(64, 96)).save(folder / "small.keras")
    convert(folder / "small.keras", quant=["float32"], output_dir=folder / "out")
    (folder / "users").mkdir()
    (folder / "users" / "users_layers.py").write_text(USERS_LAYER)
    done = run(WRITE_MODELS, folder)
    assert done.returncode == 0, done.stderr
    return folder


BACKEND = """
import os, sys

os.environ["KERAS_BACKEND"] = "torch"
from bokeh_convert import convert
from bokeh_runtime import InputError

try:
    convert(sys.argv[1])
except InputError as error:
    print(error)
"""


@pytest.mark.slow
def test_another_keras_backend_is_refused(work: Path) -> None:
    done = run(BACKEND, work / "small.keras")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(
        "the Keras backend is torch, and the conversion needs tensorflow; set KERAS_"
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "what",
    [
        "imports",
        "converting",
        "converting_in_threads",
        "reading_keras_2",
        "failing",
        "training",
        "rendering",
        "benchmarking",
    ],
)
def test_a_library_call_leaves_the_process_as_it_was(what: str, work: Path) -> None:
    done = run(PROGRAM, work, what)
    assert done.returncode == 0, f"{done.stdout}{done.stderr[-3000:]}"


@pytest.mark.parametrize("folder", [".", "{folder}"])
def test_the_search_path_is_that_of_the_current_folder(
    folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        with search_path(folder.format(folder=tmp_path / name)):
            with pytest.raises(ModuleNotFoundError):
                importlib.import_module(f"only_in_{name}")
            (tmp_path / name / f"only_in_{name}.py").touch()
        with search_path(folder.format(folder=tmp_path / name)):
            monkeypatch.delitem(sys.modules, f"only_in_{name}", raising=False)
            importlib.import_module(f"only_in_{name}")
        del sys.modules[f"only_in_{name}"]
