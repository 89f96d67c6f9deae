"""From samples to a calibrated probability with its uncertainty."""
