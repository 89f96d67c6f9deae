"""Align, brain-extract, bias-correct, normalise and crop: from scanner images to prepared cases."""
