"""Great Expectations: every limit on patients, images and manifests, and its remedy."""
