"""The version of the library, which run folders name."""

__version__ = "0.1.0"
