"""Measuring a model: latency, fidelity, operator times, and the rows of the report."""
