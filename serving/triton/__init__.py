"""The Triton model repository and its local server."""
