"""What a release is: manifest, id, verification, scan, signature, store, in-process inference."""
