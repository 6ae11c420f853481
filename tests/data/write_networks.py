"""Writes image-to-image networks as people train them, with Keras 2.15.

Python 3.11 with `tensorflow-cpu==2.15.1 tensorflow-addons==0.23.0`; run it in this folder. Weights
are set, not trained: each network passes its photo on through a few convolutions. For each `.h5`
file, `networks.npz` holds what the network gives for a photo that is fed as it was trained on.
"""

import numpy as np
import tensorflow as tf
import tensorflow_addons as tfa

layers = tf.keras.layers
SIZE = (48, 72)
INPUTS = {"first_signed_input": (-1, 1), "first_bytes_input": (0, 255)}
random = np.random.default_rng(7)


def photo():
    """A scene of soft shapes, uint8 [height, width, 3]."""
    rows, columns = np.mgrid[0 : SIZE[0], 0 : SIZE[1]]
    image = np.zeros((*SIZE, 3))
    for channel in range(3):
        for _ in range(6):
            row, column = random.uniform(0, SIZE[0]), random.uniform(0, SIZE[1])
            width = random.uniform(5, 20)
            near = np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / width**2)
            image[..., channel] += random.uniform(0.3, 1) * near
    return np.round(255 * image / image.max()).astype(np.uint8)


def kernel(shape):
    """Weights of a convolution that passes the first channels on, and mixes in the rest."""
    values = random.normal(0, 0.04, shape)
    for channel in range(min(shape[2], shape[3], 3)):
        values[shape[0] // 2, shape[1] // 2, channel, channel] = 1
    return values.astype(np.float16)  # packs smaller


def convolution(filters, **kwargs):
    return layers.Conv2D(filters, 3, padding="same", **kwargs)


def body(x, activation="sigmoid", **kwargs):
    """From an image in 0..1 to one in 0..1."""
    x = convolution(8, activation="relu", **kwargs)(x)
    x = convolution(3, name="last", **kwargs)(x)
    if activation == "sigmoid":
        x = layers.Rescaling(4.0, -2.0)(x)
    return layers.Activation(activation, dtype="float32")(x) if activation else x


def image_input(channels=3, name=None, **kwargs):
    return tf.keras.Input((*SIZE, channels), name=name, **kwargs)


def networks():
    """Yields name, network and what it is fed of the photo in 0..1 and the depth map."""
    x = image_input()
    yield (
        "rescaling_to_01",
        tf.keras.Model(x, body(layers.Rescaling(1 / 255)(x))),
        lambda p, d: p * 255,
    )
    x = image_input()
    y = layers.Rescaling(255.0)(body(layers.Rescaling(1 / 255)(x)))
    yield "rescaling_to_255", tf.keras.Model(x, y), lambda p, d: p * 255
    x = image_input()
    mean, variance = [0.485, 0.456, 0.406], [0.0524, 0.0502, 0.0506]
    y = layers.Normalization(mean=mean, variance=variance)(x)
    y = convolution(3)(y)
    yield "normalization", tf.keras.Model(x, layers.Activation("sigmoid")(y)), lambda p, d: p
    x = image_input()
    y = convolution(8, activation="relu")(layers.Rescaling(0.5, 0.5)(x))
    y = layers.Activation("tanh")(layers.Rescaling(2.0, -1.0)(convolution(3)(y)))
    yield "tanh", tf.keras.Model(x, y), lambda p, d: p * 2 - 1
    x = image_input()
    y = layers.Activation("tanh")(convolution(3)(layers.LeakyReLU(0.9)(convolution(8)(x))))
    yield "pix2pix", tf.keras.Model(x, y), lambda p, d: p * 2 - 1
    for name, low, high in (("signed_input", -1, 1), ("bytes_input", 0, 255)):
        # Nothing in the network says on what it was trained.
        x = image_input()
        y = layers.Activation("sigmoid")(
            layers.Rescaling(4.0, -2.0)(
                convolution(3)(layers.ReLU()(convolution(8, name=f"first_{name}")(x)))
            )
        )
        network = tf.keras.Model(x, y)
        yield name, network, lambda p, d, low=low, high=high: p * (high - low) + low
    x = image_input(dtype="uint8")
    yield (
        "uint8",
        tf.keras.Model(x, body(layers.Rescaling(1 / 255)(x))),
        lambda p, d: np.round(p * 255),
    )
    x = image_input()
    yield "batch_norm_training", tf.keras.Model(x, with_batch_norm(x)), lambda p, d: p
    x, d = image_input(name="image"), image_input(1, name="depth")
    yield "two_inputs", tf.keras.Model([x, d], body(tf.concat([x, d], -1))), lambda p, d: [p, d]
    x = tf.keras.Input((3, *SIZE))
    y = convolution(8, activation="relu", data_format="channels_first")(x)
    y = layers.BatchNormalization(axis=1)(y)
    y = layers.Concatenate(axis=1)([y, x])
    y = convolution(3, activation="sigmoid", data_format="channels_first")(y)
    yield "channels_first", tf.keras.Model(x, y), lambda p, d: p.transpose(0, 3, 1, 2)
    x = tf.keras.Input((None, None, 1))
    y = convolution(8, activation="relu")(x)
    y = tf.nn.depth_to_space(tf.repeat(convolution(1)(y), 4, -1), 2)
    yield "espcn", tf.keras.Model(x, y), lambda p, d: p @ np.array([[0.299], [0.587], [0.114]])
    for name, norm in (
        ("addons", tfa.layers.InstanceNormalization(epsilon=0.03)),
        ("groups", tfa.layers.GroupNormalization(4)),
    ):
        x = image_input()
        y = norm(convolution(8)(x))
        yield f"{name}_norm", tf.keras.Model(x, body(y)), lambda p, d: p
    x = image_input()
    y = layers.Dropout(0.3)(convolution(8, activation="relu")(x), training=True)
    yield "dropout_training", tf.keras.Model(x, body(y)), lambda p, d: p
    tf.keras.mixed_precision.set_global_policy("mixed_float16")
    x = image_input()
    yield "mixed_float16", tf.keras.Model(x, body(x)), lambda p, d: p
    tf.keras.mixed_precision.set_global_policy("float32")


def with_batch_norm(x):
    y = layers.BatchNormalization()(convolution(8)(x), training=True)
    return layers.Activation("sigmoid")(convolution(3)(layers.ReLU()(y)))


if __name__ == "__main__":
    pixels, depth = photo(), np.linspace(0, 1, SIZE[0], dtype=np.float32)
    depth = np.broadcast_to(depth[None, :, None, None], (1, *SIZE, 1))
    unit = (pixels[None] / np.float32(255)).astype(np.float32)
    found = {"photo": pixels, "depth": depth[0]}
    for name, network, feed in networks():
        for layer in network.layers:
            if isinstance(layer, layers.Conv2D):
                layer.kernel.assign(kernel(layer.kernel.shape))
            low, high = INPUTS.get(layer.name, (0, 1))
            if (low, high) != (0, 1):
                # The layer takes values of low to high as others take those of 0 to 1.
                layer.bias.assign(-low / (high - low) * tf.reduce_sum(layer.kernel, (0, 1, 2)))
                layer.kernel.assign(layer.kernel / (high - low))
        for weight in network.weights:
            if "batch_norm" in weight.name and "moving" not in weight.name:
                weight.assign(weight + 0.1)
        network.save(f"networks/{name}.h5", include_optimizer=False)
        if name != "dropout_training":
            found[name] = np.asarray(network(feed(unit, depth)), np.float32)[0]
            print(
                name, network.input_shape, found[name].shape, found[name].min(), found[name].max()
            )
    np.savez_compressed("networks/networks.npz", **found)
