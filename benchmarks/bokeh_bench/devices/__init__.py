"""What rows are measured on besides this machine: a phone over adb, ARM kernels under QEMU."""
