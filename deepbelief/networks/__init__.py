"""Blocks of feed-forward networks and their export."""
