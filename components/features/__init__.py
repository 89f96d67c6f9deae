"""The feature/slice step: five slices, shape, loci; the same code in training and inside Triton."""
