"""Model 1: the 3-D U-Net that finds the whole tumour, its training and its inference."""
