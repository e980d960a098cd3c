"""Sweeps: many runs that train in one program."""
