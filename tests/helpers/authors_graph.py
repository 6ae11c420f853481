"""PyNET as a TensorFlow 1 graph: the oracle for the authors' checkpoints.

Written from the paper's description and the published order of the variables alone, in plain
TensorFlow operators, so that it shares nothing with `bokeh_convert.pynet.network`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tensorflow as tf

v1 = tf.compat.v1


def authors_graph(photo, width: float = 1.0):  # noqa: PLR0915  (in one piece, as published)
    """Returns the l_up output; creates unnamed variables under `generator/`."""

    def channels(n):
        return max(8, round(n * width))

    def variable(shape, low, high):
        return tf.Variable(v1.random_uniform(shape, low, high), dtype=tf.float32)

    def conv(x, n, k, norm=False, activate=True):
        spread = 1.5 / np.sqrt(k * k * int(x.shape[-1]))
        kernel = variable([k, k, int(x.shape[-1]), n], -spread, spread)
        bias = variable([n], -0.1, 0.1)
        x = v1.nn.conv2d(x, kernel, [1, 1, 1, 1], "SAME") + bias
        if norm:
            shift, scale = variable([n], -0.2, 0.2), variable([n], 0.8, 1.2)
            mean, var = v1.nn.moments(x, [1, 2], keep_dims=True)
            x = scale * ((x - mean) / (var + 1e-3) ** 0.5) + shift
        return v1.nn.leaky_relu(x, 0.2) if activate else x

    def multi(x, largest, n, norm=True, add=False):
        branches = []
        for k in range(3, largest + 1, 2):
            y = conv(x, channels(n), k, norm)
            branches.append(conv(y, channels(n), k, norm))
        y = tf.concat(branches, 3)
        return y + x if add else y

    def up(x, n):
        kernel = variable([3, 3, n, int(x.shape[-1])], -0.1, 0.1)
        _, h, w, _ = x.shape
        y = v1.nn.conv2d_transpose(x, kernel, [1, 2 * h, 2 * w, n], [1, 2, 2, 1], "SAME")
        return v1.nn.leaky_relu(y, 0.2)

    def pool(x):
        return v1.nn.max_pool2d(x, 2, 2, "VALID")

    def cat(*tensors):
        return tf.concat(tensors, 3)

    def head(x):
        return conv(x, 3, 3, activate=False)

    with v1.variable_scope("generator"):
        l1 = multi(v1.space_to_depth(photo, 2), 3, 32, norm=False)
        l2 = multi(pool(l1), 3, 64)
        l3 = multi(pool(l2), 3, 128)
        l4 = multi(pool(l3), 3, 256)
        x = multi(pool(l4), 3, 512)
        x = multi(x, 3, 512, add=True)
        x = multi(x, 3, 512, add=True)
        x = multi(x, 3, 512)
        a, b = up(x, channels(256)), up(x, channels(256))
        head(x)
        x = multi(cat(l4, a), 3, 256)
        x = multi(x, 3, 256, add=True)
        x = multi(x, 3, 256, add=True)
        x = cat(multi(x, 3, 256), b)
        x = multi(x, 3, 256)
        a, b = up(x, channels(128)), up(x, channels(128))
        head(x)
        x = cat(l3, a)
        for _ in range(3):
            x = multi(x, 5, 128, add=True)
        x = cat(multi(x, 5, 128), l3, b)
        x = multi(x, 3, 128)
        a, b = up(x, channels(64)), up(x, channels(64))
        head(x)
        x = cat(multi(cat(l2, a), 5, 64), l2)
        for _ in range(3):
            x = multi(x, 7, 64, add=True)
        x = cat(multi(x, 7, 64), l2)
        x = cat(multi(x, 5, 64), b)
        x = multi(x, 3, 64)
        a, b = up(x, channels(32)), up(x, channels(32))
        head(x)
        x = cat(multi(cat(l1, a), 5, 32, norm=False), l1)
        x = multi(x, 7, 32, norm=False)
        x = multi(x, 9, 32, norm=False)
        for _ in range(3):
            x = multi(x, 9, 32, norm=False, add=True)
        x = cat(multi(x, 7, 32, norm=False), l1)
        x = cat(multi(x, 5, 32, norm=False), b, l1)
        x = multi(x, 3, 32, norm=False)
        head(x)
        x = head(up(x, channels(8)))
        return 0.58 * tf.tanh(head(up(x, 3))) + 0.5


def write_checkpoint(prefix: Path, photo: np.ndarray, width: float) -> np.ndarray:
    """Saves a checkpoint as the authors' training does; returns what the graph draws."""
    with tf.Graph().as_default():
        v1.set_random_seed(7)
        source = v1.placeholder(tf.float32, [1, *photo.shape])
        picture = authors_graph(source, width)
        # A training run holds more: the optimizer's variables, another network's.
        tf.Variable(np.zeros(3, np.float32), name="discriminator/Variable")
        with v1.Session() as session:
            session.run(v1.global_variables_initializer())
            v1.train.Saver().save(session, str(prefix), write_meta_graph=False)
            return session.run(picture, {source: photo[None]})[0]


def variable_shapes() -> list[str]:
    """Returns the shapes of the authors' variables, in the order of their creation."""
    with tf.Graph().as_default():
        authors_graph(v1.placeholder(tf.float32, [1, 64, 96, 4]))
        return ["x".join(str(n) for n in v.shape) for v in v1.global_variables()]
