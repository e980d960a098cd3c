"""Sweeps: many runs in one program."""
