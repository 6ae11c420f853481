"""Runs .tflite files in TensorFlow's interpreter with XNNPACK.

`PYTHON run_files.py INPUTS OUTPUTS`, where PYTHON has TensorFlow: both are .npz files, of input and
output tensors by the path of the file. It prints, as JSON, the version of TensorFlow, and for each
file how many parts of it XNNPACK runs.
"""

import json
import sys

import numpy as np
import tensorflow as tf

outputs, parts = {}, {}
with np.load(sys.argv[1]) as inputs:
    for path, values in inputs.items():
        interpreter = tf.lite.Interpreter(model_path=path, num_threads=2)
        interpreter.allocate_tensors()
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], values)
        interpreter.invoke()
        outputs[path] = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
        parts[path] = [op["op_name"] for op in interpreter._get_ops_details()].count("DELEGATE")
np.savez(sys.argv[2], **outputs)
print(json.dumps({"version": tf.__version__, "parts": parts}))
