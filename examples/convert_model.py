"""Converts a Keras model of one's own to TFLite, and reads how far each file is from it."""

from pathlib import Path

import keras

from bokeh_convert import convert
from bokeh_convert.pynet.layers import InstanceNormalization, SpaceToDepth

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "build" / "examples" / "convert"


def small_network(height: int, width: int) -> keras.Model:
    """Returns an untrained network from photo to photo; yours comes from keras.models.load_model.

    The input is float [height, width, RGB] from 0 to 1, and so is the output.
    """
    photo = keras.Input((height, width, 3), name="photo")
    x = SpaceToDepth()(photo)
    x = keras.layers.Conv2D(16, 3, padding="same")(x)
    x = InstanceNormalization()(x)
    x = keras.layers.LeakyReLU(negative_slope=0.2)(x)
    x = keras.layers.Conv2DTranspose(8, 3, strides=2, padding="same")(x)
    x = keras.layers.Conv2D(3, 3, padding="same")(x)
    return keras.Model(photo, keras.layers.Rescaling(0.1, offset=0.5)(x))


def main() -> None:
    """Converts, and prints a line for each file."""
    OUT.mkdir(parents=True, exist_ok=True)
    keras.utils.set_random_seed(1)
    small_network(64, 96).save(OUT / "network.keras")
    # Photos that calibrate and others that verify. A real model wants some dozens of them;
    # without the argument, those that ship with the package are used.
    conversions = convert(
        OUT / "network.keras",
        quant=("float16", "int8"),
        representative_dataset=ROOT / "benchmarks" / "photos",
        output_dir=OUT,
    )
    for conversion in conversions:
        report = conversion.report
        fidelity = report.fidelity or {}
        print(
            f"{conversion.path.name}: {report.size_bytes} bytes, "
            f"{fidelity['psnr_db_mean']} dB PSNR to the Keras model"
        )


if __name__ == "__main__":
    main()
