"""The report page, its figures, and the model card."""
