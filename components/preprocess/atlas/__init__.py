"""The nine-region atlas in MNI152."""
