"""PyNET as a Keras 3 model: the network and its layers."""
