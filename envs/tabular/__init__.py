"""Finite MDPs, for which exact solutions are computed."""
