"""A converted file against the full model: figures and pictures."""
