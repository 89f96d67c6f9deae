"""Whether a release is whole and unaltered: scan, digests, signature."""
