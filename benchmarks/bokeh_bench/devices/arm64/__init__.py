"""A phone's CPU kernels without a phone: XNNPACK's ARM kernels under QEMU.

LiteRT's aarch64 build runs in QEMU's user mode as on a Cortex-A76. Outputs are computed by the same
kernels as on a phone, and instructions can be counted. Times under QEMU are meaningless and are not
reported.
"""
