"""Saliency and Grad-CAM of the hybrid."""
