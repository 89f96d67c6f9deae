"""The interactive view of an answer's volumes, in its page."""
