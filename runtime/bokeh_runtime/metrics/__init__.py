"""How near an image is to a reference: a module for each metric, and `fidelity` for them together.

A metric that needs more than the runtime's own dependencies imports that when it is called.
"""
