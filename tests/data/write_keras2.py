"""Writes the Keras 2 fixtures.

Python 3.11 with `tensorflow-cpu==2.15.1 tensorflow-addons==0.23.0`; run it in this folder.
"""

import numpy as np
import tensorflow as tf
import tensorflow_addons as tfa

layers = tf.keras.layers


def written_out_norm(x):
    mean, variance = tf.nn.moments(x, [1, 2], keepdims=True)
    return (x - mean) / tf.sqrt(variance + 1e-3)


def addons_norm(x):
    return tfa.layers.InstanceNormalization(epsilon=1e-3)(x)


def network(norm, channels, size):
    photo = tf.keras.Input((*size, channels), name="photo")
    x = tf.nn.space_to_depth(photo, 2)
    x = layers.Conv2D(8, 3, padding="same")(x)
    skip = x = tf.nn.leaky_relu(norm(x), 0.2)
    x = layers.MaxPool2D(2)(x)
    x = layers.Conv2D(12, 3, padding="same")(x)
    x = layers.LeakyReLU(alpha=0.2)(norm(x))
    x = layers.Conv2DTranspose(8, 3, 2, padding="same", use_bias=False)(x)
    x = tf.concat([tf.nn.leaky_relu(x, 0.2), skip], axis=-1)
    x = layers.Conv2DTranspose(8, 3, 2, padding="same", use_bias=False)(x)
    x = layers.Conv2D(3, 3, padding="same")(x)
    return tf.keras.Model(photo, tf.nn.tanh(x) * 0.58 + 0.5)


tf.random.set_seed(3)
for name, model in (
    ("keras2_moments", network(written_out_norm, 3, (None, None))),
    ("keras2_addons", network(addons_norm, 4, (64, 96))),
):
    for weight in model.weights:
        weight.assign(weight + tf.random.normal(weight.shape, stddev=0.05))
    model.save(f"{name}.h5", include_optimizer=False)
    photo = np.random.default_rng(0).random((1, 64, 96, model.input_shape[-1]), dtype=np.float32)
    photo = photo.astype(np.float16).astype(np.float32)  # packs smaller
    np.savez_compressed(f"{name}.npz", photo=photo, bokeh=model(photo).numpy())
