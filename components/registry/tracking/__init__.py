"""MLflow: the tracking store, lineage records and model versions."""
