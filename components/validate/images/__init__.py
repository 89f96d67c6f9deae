"""Facts measured on one patient's images, judged elsewhere."""
