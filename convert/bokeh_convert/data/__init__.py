"""Photos for calibration and verification."""
