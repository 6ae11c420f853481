"""Processes of their own, so that memory, caches and crashes do not reach the next measurement."""
