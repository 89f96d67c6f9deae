"""MLflow lineage, the registry, the promotion gate and the audit that proves them."""
