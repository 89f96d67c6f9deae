"""DICOM: which series is which sequence, whole or not, converted and de-identified; masks out."""
