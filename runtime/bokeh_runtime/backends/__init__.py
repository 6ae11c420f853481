"""What runs a model, and the proof of where it ran."""
