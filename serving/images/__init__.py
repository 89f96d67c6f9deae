"""One request of image files: unpacked, prepared in a process of its own, and answered."""
