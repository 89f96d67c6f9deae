"""Which series of a study is which sequence, and which one is taken."""
