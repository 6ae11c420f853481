"""Allowlists of what a model file may contain, and the checks against them.

Whatever is not on an allowlist is refused before a library builds or runs any of it. `config.py`
checks the classes of a Keras model, `graph.py` the operators of a TensorFlow graph, `hdf5.py` and
`archive.py` the containers. Keras files are then loaded from a private copy with only the checked
content.
"""
