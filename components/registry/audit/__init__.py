"""Proof of a model's chain."""
