"""Training of the segmenter's ensemble members."""
