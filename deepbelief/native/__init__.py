"""Kernels in C, built with the package where there is a compiler; everything works without them, more slowly."""
