"""Phantom patients with known truth: real anatomy, drawn tumours, simulated scanners."""
