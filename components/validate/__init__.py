"""Data validation: which patients are usable, which are not, why, and how to mend them."""
