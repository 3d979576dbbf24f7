"""Autoencoders, plain and variational: networks that code a case and decode the code again."""
