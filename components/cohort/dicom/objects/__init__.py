"""Objects that we make of a DICOM series, and what they refer to."""
