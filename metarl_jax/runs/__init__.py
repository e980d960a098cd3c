"""Runs: everything with a folder on disk."""
