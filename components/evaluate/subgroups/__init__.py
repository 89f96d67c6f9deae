"""Performance within subgroups, and what the gaps between them are made of."""
