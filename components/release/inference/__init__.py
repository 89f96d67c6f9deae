"""Inference of a release: the functions of the ensemble, and the same in this process."""
