"""What a patient, a cohort manifest and a prepared case are, and how they are read and written."""
