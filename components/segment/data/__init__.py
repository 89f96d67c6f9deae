"""What the segmenter learns from: sampling, augmentation, network input."""
