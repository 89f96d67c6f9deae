"""Model 2: the ResNet and the hybrid classifier, and the comparators they are judged against."""
