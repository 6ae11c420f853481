"""Quantization schemes, activation calibration and the mixed-precision search."""
