"""Hostile SavedModel folders, checkpoints, and a pickle."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import tensorflow as tf

from attacks.corpus import SECRET, attack

OPERATOR = "the operator {} is not known to be free of side effects"
SIGNATURE = [tf.TensorSpec([1, None, None, 3], name="photo")]


def load_and_run(path: Path, mark: Path) -> bool:
    loaded = tf.saved_model.load(str(path))
    loaded.signatures["serving_default"](photo=tf.zeros([1, 8, 8, 3]))
    return mark.exists()


def only_load(path: Path, mark: Path) -> bool:
    tf.saved_model.load(str(path))
    return mark.exists()


def run_reads_the_secret(path: Path, mark: Path) -> bool:
    loaded = tf.saved_model.load(str(path))
    (output,) = loaded.signatures["serving_default"](photo=tf.zeros([1, 8, 8, 3])).values()
    return bool(np.any(output == SECRET))


def _save(module: tf.Module, folder: Path) -> Path:
    path = folder / "evil"
    tf.saved_model.save(module, str(path), signatures={"serving_default": module.run})
    return path


@attack(load_and_run, OPERATOR.format("WriteFile"))
def signature_that_writes(folder: Path, mark: Path) -> Path:
    class Network(tf.Module):
        @tf.function(input_signature=SIGNATURE)
        def run(self, photo):
            tf.io.write_file(str(mark), "was here")
            return photo

    return _save(Network(), folder)


@attack(load_and_run, OPERATOR.format("PrintV2"))
def branch_that_prints_to_a_file(folder: Path, mark: Path) -> Path:
    class Network(tf.Module):
        @tf.function(input_signature=SIGNATURE)
        def run(self, photo):
            def branch():
                tf.raw_ops.PrintV2(input="was here", output_stream=f"file://{mark}")
                return photo

            return tf.cond(tf.reduce_sum(photo) < 1.0, branch, lambda: photo * 2.0)

    return _save(Network(), folder)


@attack(run_reads_the_secret, OPERATOR.format("ReadFile"))
def signature_that_reads(folder: Path, mark: Path) -> Path:
    secret = folder / "secret.bin"
    secret.write_bytes(np.full(3, SECRET, np.float32).tobytes())

    class Network(tf.Module):
        @tf.function(input_signature=SIGNATURE)
        def run(self, photo):
            return photo + tf.io.decode_raw(tf.io.read_file(str(secret)), tf.float32)

    return _save(Network(), folder)


@attack(run_reads_the_secret, OPERATOR.format("RestoreV2"))
def signature_that_reads_a_checkpoint(folder: Path, mark: Path) -> Path:
    secret = str(folder / "secret")
    tf.raw_ops.SaveV2(
        prefix=secret, tensor_names=["mine"], shape_and_slices=[""], tensors=[np.float32(SECRET)]
    )

    class Network(tf.Module):
        @tf.function(input_signature=SIGNATURE)
        def run(self, photo):
            (mine,) = tf.raw_ops.RestoreV2(
                prefix=secret, tensor_names=["mine"], shape_and_slices=[""], dtypes=[tf.float32]
            )
            return photo + mine

    return _save(Network(), folder)


_KEPT = []
"""A PyFunc calls a function of its own process by number; those of the victim's are as good."""


@attack(load_and_run, OPERATOR.format("PyFunc"))
def signature_that_calls_python(folder: Path, mark: Path) -> Path:
    def code(photo):
        mark.touch()
        return photo

    class Network(tf.Module):
        @tf.function(input_signature=SIGNATURE)
        def run(self, photo):
            same = tf.numpy_function(code, [photo], tf.float32)
            return tf.ensure_shape(same, photo.shape)

    network = Network()
    _KEPT.append(network)
    return _save(network, folder)


@attack(only_load, OPERATOR.format("WriteFile"))
def resource_that_writes_when_loaded(folder: Path, mark: Path) -> Path:
    from tensorflow.python.trackable.resource import TrackableResource

    class Table(TrackableResource):
        def _create_resource(self):
            return tf.raw_ops.MutableHashTableV2(key_dtype=tf.int64, value_dtype=tf.int64)

        def _initialize(self):
            tf.io.write_file(str(mark), "was here")

    class Network(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = Table()
            self.handle = self.table.resource_handle

        @tf.function(input_signature=SIGNATURE)
        def run(self, photo):
            return photo

    return _save(Network(), folder)


def _with_a_variable(folder: Path, value: float) -> Path:
    class Network(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.level = tf.Variable(value)

        @tf.function(input_signature=SIGNATURE)
        def run(self, photo):
            return photo + self.level

    return _save(Network(), folder)


@attack(run_reads_the_secret, "is a link to .*outside of the model's folder")
def variables_that_are_links(folder: Path, mark: Path) -> Path:
    (folder / "victim").mkdir()
    victim = _with_a_variable(folder / "victim", SECRET) / "variables"
    path = _with_a_variable(folder, 0.0)
    for file in (path / "variables").iterdir():
        file.unlink()
        file.symlink_to(victim / file.name)
    return path


@attack(run_reads_the_secret, "is a link to .*outside of the model's folder")
def folder_that_is_a_link(folder: Path, mark: Path) -> Path:
    (folder / "victim").mkdir()
    victim = _with_a_variable(folder / "victim", SECRET) / "variables"
    path = _with_a_variable(folder, 0.0)
    for file in (path / "variables").iterdir():
        file.unlink()
    (path / "variables").rmdir()
    (path / "variables").symlink_to(victim)
    return path


def read_checkpoint(path: Path, mark: Path) -> bool:
    reader = tf.train.load_checkpoint(str(path))
    return bool(reader.get_tensor("generator/Variable") == SECRET)


@attack(read_checkpoint, "is a link to .*outside of the model's folder")
def checkpoint_of_links(folder: Path, mark: Path) -> Path:
    (folder / "victim").mkdir()
    secret = str(folder / "victim" / "secret")
    tf.raw_ops.SaveV2(
        prefix=secret,
        tensor_names=["generator/Variable"],
        shape_and_slices=[""],
        tensors=[np.float32(SECRET)],
    )
    (folder / "model").mkdir()
    for file in (folder / "victim").iterdir():
        (folder / "model" / file.name.replace("secret", "model.ckpt")).symlink_to(file)
    return folder / "model" / "model.ckpt"


def unpickle(path: Path, mark: Path) -> bool:
    pickle.loads(path.read_bytes())
    return mark.exists()


class _Touch:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (self.mark,)


@attack(unpickle, "is a pickle, and opening a pickle may run any code")
def pickled(folder: Path, mark: Path) -> Path:
    (folder / "model.h5").write_bytes(pickle.dumps(_Touch(mark)))
    return folder / "model.h5"
