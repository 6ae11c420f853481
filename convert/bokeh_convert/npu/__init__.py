"""Compiles files for the NPUs of phones ahead of time, and runs the result on an emulator.

`vendors` is data: whose NPUs there are, and how to get their compilers. `libraries` finds a
vendor's libraries, `compiler` runs LiteRT's tool with them, and `compiler_log` and
`compiled_file` read what comes out. `emulator` runs a compiled file on this computer. Nothing of a
vendor is part of this package: the user installs it, under the vendor's licence.
"""
