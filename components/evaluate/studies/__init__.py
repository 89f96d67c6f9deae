"""Ablations and robustness, evaluated."""
