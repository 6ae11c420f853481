"""Interpreters, delegates and accelerators, and on which of them a model runs."""
