"""What is measured of a model: latency, fidelity, operator times, the references, and the rows."""
