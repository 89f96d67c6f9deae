"""Bias field correction and z-scores."""
