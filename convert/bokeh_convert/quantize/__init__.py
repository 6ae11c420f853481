"""Quantization schemes, calibration, and the search of what stays in float."""
