"""The segmenter of the whole tumour, its training, its inference and its export."""
