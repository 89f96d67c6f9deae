"""Public releases of glioma MRI: their tables and folders as a manifest."""
