"""Training on several devices, of which JAX can make two out of one CPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from helpers.teachers import store_blurring_teacher

SCRIPT = """
import json, sys
from dataclasses import replace
from pathlib import Path

import keras

from bokeh_convert.train import trainer
from bokeh_convert.train.distill import distill
from bokeh_convert.train.distill_state import DistillConfig
from bokeh_convert.train.pairs import find_pairs
from bokeh_runtime.errors import InputError

folder, run = Path(sys.argv[1]), Path(sys.argv[2])

def network(**options):
    keras.utils.set_random_seed(1)
    photo = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(8, 3, padding="same")(photo)
    x = keras.layers.LeakyReLU(negative_slope=0.2)(x)
    x = keras.layers.Conv2D(3, 3, padding="same")(x)
    return keras.Model(photo, [keras.layers.Add()([photo, x])])

found = {"losses": [], "devices": []}
distilling = DistillConfig(
    crop_steps=2, whole_steps=2, int8_steps=2, batch=8, learning_rate=1e-2,
    int8_learning_rate=1e-3, smooth_weight=1.0, ms_ssim_weight=0.02, feature_weight=0.0,
    frozen_below=0.0, evaluations=1, patience=9, seed=5,
)
fitting = trainer.TrainConfig(
    width=1.0, input_channels=3, residual=True, head="l0", by_level=False, steps=2, batch=4,
    crop=32, short_side=48, paste=0.0, learning_rate=1e-2, seed=3, int8_steps=2,
)
trainer.pynet = network

trainer.HEADS = ("l0",)
for student in (
    distill(network(), ("l0",), distilling, folder, run / "distill",
            on_step=lambda at: found["losses"].append(at.loss)),
    trainer.train(fitting, find_pairs(folder, "train"), run / "fit",
                  on_step=lambda step, loss: found["losses"].append(loss)),
):
    found["devices"].append(len(student.weights[0].value.sharding.device_set))
try:
    trainer.train(replace(fitting, batch=3), find_pairs(folder, "train"), run / "odd")
    found["odd"] = ""
except InputError as error:
    found["odd"] = str(error)
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stored outputs of a teacher that blurs, and two pairs of photos."""
    folder = tmp_path_factory.mktemp("data")
    store_blurring_teacher(folder)
    rng = np.random.default_rng(2)
    photos = {name: rng.integers(0, 256, (64, 96, 3), dtype=np.uint8) for name in ("1", "2")}
    for kind, sigma in (("original", 0.5), ("bokeh", 2)):
        (folder / "train" / kind).mkdir(parents=True)
        for name, photo in photos.items():
            image = cv2.GaussianBlur(photo, (0, 0), sigma)
            cv2.imwrite(str(folder / "train" / kind / f"{name}.jpg"), image)
    return folder


def train_on(devices: int, folder: Path, run: Path) -> Any:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, folder, run],
        env={
            **os.environ,
            "KERAS_BACKEND": "jax",
            "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
def test_the_teacher_runs_with_tensorflow_beside_another_backend(
    data: Path, folder: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "bokeh_convert.train", "distill", data / "keras2_addons.h5"]
    options = (
        f"--photos={folder / 'train' / 'original'} --output-dir={tmp_path} --input-range=0..1 "
        "--output-range=0..1 --width=0.02 --residual-blocks=0 --views=2 --whole-steps=1 "
        "--evaluations=1"
    )
    done = subprocess.run(
        [*command, *options.split(" ")],
        env={**os.environ, "KERAS_BACKEND": "jax"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "dB from the teacher on held-out photos" in done.stderr
    assert (tmp_path / "model.h5").is_file()


@pytest.mark.slow
def test_two_devices_have_the_losses_of_one(folder: Path, tmp_path: Path) -> None:
    one, two = (train_on(count, folder, tmp_path / str(count)) for count in (1, 2))
    assert (one["devices"], two["devices"]) == ([1, 1], [2, 2])
    assert len(one["losses"]) == 10
    np.testing.assert_allclose(two["losses"], one["losses"], rtol=1e-4)
    assert one["odd"] == ""
    assert two["odd"] == (
        "a batch of 3 cannot be split between 2 devices; make batch a multiple of 2"
    )
