"""Adversarial networks: a generator learns from a critic that tells its cases from the data."""
