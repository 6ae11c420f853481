"""Lists of what a model file may ask for, and the checks that hold a file to them.

Everything that is not on a list is refused before a library builds or runs anything of it:
`config.py` reads the classes of a Keras model, `graph.py` the operators of a TensorFlow graph,
`hdf5.py` and `archive.py` the containers. A file is then loaded from a private copy that holds
what was checked and nothing else.
"""
