"""Robots simulated by Brax."""
