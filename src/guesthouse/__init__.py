"""Guesthouse: a house that hosts guests."""

__version__ = "0.1.0"
