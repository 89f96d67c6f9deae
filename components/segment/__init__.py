"""Model 1: the whole-tumour segmenter, its training, its inference and its export."""
