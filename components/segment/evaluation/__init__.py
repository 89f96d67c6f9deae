"""Dice and Hausdorff distance of masks, and the threshold chosen on held-out cases."""
