"""Linear registration of the sequences to the T1C, and of the T1C to MNI152."""
