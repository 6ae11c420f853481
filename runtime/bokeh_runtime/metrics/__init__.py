"""Image quality metrics: one module per metric, and `fidelity` to compute them together.

A module with a `METRIC` is found by itself; see `registry`. SSIM and FLIP need packages that are
not dependencies of the runtime. They are imported on use.
"""
