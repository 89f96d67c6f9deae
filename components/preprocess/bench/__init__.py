"""Time and accuracy of preprocessing on this machine."""
