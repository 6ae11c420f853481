"""Comparison of converted files with the full model."""
