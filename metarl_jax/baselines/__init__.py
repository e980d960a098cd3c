"""Policies to compare a learner with."""
