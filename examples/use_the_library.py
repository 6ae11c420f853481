"""Uses the runtime as a library: pictures in memory, one opened model, several strengths."""

import numpy as np

from bokeh_runtime import BokehModel, HardwareError, InputError, probe


def picture(height: int, width: int) -> np.ndarray:
    """Returns a picture as a camera's or a decoder's library would: uint8 RGB, upright."""
    rows, columns = np.mgrid[0:height, 0:width]
    waves = [np.sin(rows / period) * np.cos(columns / period) for period in (5, 17, 60)]
    return np.stack([128 + 100 * wave for wave in waves], axis=-1).astype(np.uint8)


def main() -> None:
    """Renders two pictures at several strengths."""
    for found in probe():
        print(f"{found.delegate}: {found.device or f'not here ({found.reason})'}")
    try:
        model = BokehModel.open(delegate="cpu", threads=2)
    except (InputError, HardwareError) as error:  # one line: what, why, and what to do
        raise SystemExit(str(error)) from error
    # One model for many pictures; threads may share it, and take turns.
    with model:
        height, width = model.input_shape[:2]
        print(f"the network sees {height} x {width}; results have the picture's size")
        for pixels in (picture(480, 720), picture(720, 480)):
            for strength in (0.0, 0.5, 1.0):
                result = model.render(pixels, strength=strength).pixels
                assert result.shape == pixels.shape
                change = np.abs(result.astype(int) - pixels).mean()
                print(f"{pixels.shape}, strength {strength}: {change:.1f} of 255 from the photo")
        # What the network itself draws, without the photo's detail.
        small = model.render(picture(480, 720), network_resolution=True).pixels
        print(f"the network's own picture: {small.shape}")


if __name__ == "__main__":
    main()
