"""Notes an output that does not follow its photo, which wrong value ranges are the usual cause of.

For files without metadata alone: `bokeh-convert` checks this before it writes a file.
"""

from __future__ import annotations

from collections.abc import Iterable

from bokeh_runtime.imaging.photo import FloatImage
from bokeh_runtime.metrics.photo_agreement import agreement, mean_agreement
from bokeh_runtime.tflite.value_range import ImageRanges

# Standard deviation below which a photo is too flat to tell; a bright sky has 0.03.
_MIN_DEVIATION = 0.02


def range_note(pairs: Iterable[tuple[FloatImage, FloatImage]], ranges: ImageRanges) -> str | None:
    """Returns a note if outputs do not follow their photos, with the likely cause and the remedy.

    Args:
        pairs: Photos, float [height, width, 3 or more] in [0, 1], or luminance [height, width, 1];
            each with the network's output, float [any height, any width, 1 or 3], white at 1.
        ranges: The value ranges in which the network ran.

    Returns:
        The note; None if the outputs follow their photos, or the photos are too flat to tell.
    """
    agreements = [
        agreement(photo, output)
        for photo, output in pairs
        if float(photo[..., :3].std()) >= _MIN_DEVIATION
    ]
    fault = mean_agreement(agreements).fault if agreements else None
    if fault is None:
        return None
    return (
        f"the output is {fault}; the network may take or give other values than {ranges.input} and "
        f"{ranges.output}: give its input range and output range, such as 0..255 or -1..1 "
        "(--input-range, --output-range)"
    )
