"""Searches: hyperparameters are proposed by Optuna, and trained batch by batch as sweeps."""
