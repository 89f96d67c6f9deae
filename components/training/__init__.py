"""Training machinery shared by the segmenter and the classifier."""
