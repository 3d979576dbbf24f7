"""Autoencoders: networks that code a case and decode the code again."""
