"""Photo files: what the formats hold, read and written."""
