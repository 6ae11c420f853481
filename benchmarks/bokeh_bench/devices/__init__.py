"""Devices other than this machine: a phone over adb, and ARM CPU kernels under QEMU."""
