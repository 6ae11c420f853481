"""Trains a tiny network on generated pairs with Keras, and converts it.

`bokeh-train` trains PyNET itself, on EBB! or photos of your own; that takes hours.
"""

from pathlib import Path

import keras
from convert_model import small_network
from generated_pairs import generated_pairs

from bokeh_convert import convert

OUT = Path(__file__).resolve().parents[1] / "build" / "examples" / "train"


def main() -> None:
    """Trains for a few seconds, and converts."""
    OUT.mkdir(parents=True, exist_ok=True)
    keras.utils.set_random_seed(1)
    photos, targets = generated_pairs(32)
    network = small_network(64, 64)
    network.compile(optimizer=keras.optimizers.Adam(3e-3), loss="mean_absolute_error")
    history = network.fit(photos, targets, batch_size=8, epochs=20, verbose=0)
    first, last = history.history["loss"][0], history.history["loss"][-1]
    print(f"mean absolute error: {first:.3f} after the first epoch, {last:.3f} after the last")
    network.save(OUT / "trained.keras")
    for conversion in convert(OUT / "trained.keras", quant=("float16", "int8"), output_dir=OUT):
        fidelity = conversion.report.fidelity or {}
        print(f"{conversion.path.name}: {fidelity['psnr_db_mean']} dB PSNR to the Keras model")


if __name__ == "__main__":
    main()
