"""Measures how fast and how faithful converted bokeh models are."""
