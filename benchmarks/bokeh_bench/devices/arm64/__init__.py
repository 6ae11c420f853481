"""A phone's CPU without a phone: XNNPACK's ARM kernels under QEMU.

LiteRT's aarch64 build runs in QEMU's user mode as on a Cortex-A76: the picture is the phone's, and
the instructions can be counted. Time under QEMU means nothing, and none is given.
"""
