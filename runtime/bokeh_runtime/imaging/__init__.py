"""Reads, writes and resizes photos and depth maps."""
