"""Trains a PyNET on pairs of photos; resumable, on any Keras backend."""
