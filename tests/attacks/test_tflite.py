"""`.tflite` files whose operators the interpreters do not have."""

from __future__ import annotations

from pathlib import Path

import pytest
import tensorflow as tf

from bokeh_runtime import InputError, TfliteModel
from bokeh_runtime.tflite.file import read_tflite


@pytest.mark.parametrize("kind", ["flex", "custom"])
def test_operators_of_others_are_refused_in_one_line(kind: str, tmp_path: Path) -> None:
    @tf.function(input_signature=[tf.TensorSpec([1, 8, 8, 3])])
    def invert(photo):
        return tf.linalg.inv(photo[:, :, :, 0])

    converter = tf.lite.TFLiteConverter.from_concrete_functions([invert.get_concrete_function()])
    if kind == "flex":
        converter.target_spec.supported_ops = [tf.lite.OpsSet.SELECT_TF_OPS]
    else:
        converter.allow_custom_ops = True
    path = tmp_path / "invert.tflite"
    path.write_bytes(converter.convert())
    file = read_tflite(path)
    name = "FlexMatrixInverse" if kind == "flex" else "MatrixInverse"
    assert name in {operator.name for operator in file.operators}
    cause = "Select TensorFlow op" if kind == "flex" else name
    with pytest.raises(InputError, match=rf"invert: .*cannot run it \(.*{cause}") as refused:
        TfliteModel(file.content, name="invert")
    assert "\n" not in str(refused.value)
