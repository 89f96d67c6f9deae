"""The classifier: the ResNet, the hybrid, and the comparators they are evaluated against."""
