"""Photos that calibrate and verify."""
