"""What is measured of a model: latency, fidelity, operator times, and the references of both."""
