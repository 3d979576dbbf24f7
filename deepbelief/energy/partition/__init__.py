"""Partition functions: exact by enumeration, bracketed by annealing."""
