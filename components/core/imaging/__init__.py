"""Sampling grids in patient space."""
