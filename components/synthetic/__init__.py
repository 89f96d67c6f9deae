"""Synthetic patients to train a segmenter on: heads, tumours and contrasts drawn at random."""
