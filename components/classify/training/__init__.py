"""Training of the ResNet, the hybrid and the comparators."""
