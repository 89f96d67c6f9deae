"""What an image and a mask must be like: measured, and held to limits, on every road."""
