"""Runs: training, evaluation and storage of everything that has a folder on disk."""
