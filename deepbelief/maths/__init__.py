"""Enumeration, log-space sums and statistics."""
