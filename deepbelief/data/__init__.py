"""Data sets, sources of batches, masks and binarization."""
