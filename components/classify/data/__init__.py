"""Training samples, feature selection and augmentation."""
