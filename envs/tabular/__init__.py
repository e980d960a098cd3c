"""Finite MDPs, which are solved exactly."""
