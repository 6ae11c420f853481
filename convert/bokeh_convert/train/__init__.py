"""Training of PyNET on pairs of photos, with any Keras backend."""
