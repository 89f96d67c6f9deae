"""model.py files of the release's Python models; copied into every exported repository."""
