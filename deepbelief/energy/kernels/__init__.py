"""Markov chain kernels on many states at once."""
