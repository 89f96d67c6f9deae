"""The pipeline on Kubeflow: compiled, placed, submitted, scheduled."""
