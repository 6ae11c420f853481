"""The structure and metadata of .tflite files, and reference packs."""
