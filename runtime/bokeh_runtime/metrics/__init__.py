"""Image quality metrics: one module per metric, and `fidelity` to compute them together.

SSIM and FLIP need packages that are not dependencies of the runtime. They are imported on use.
"""
