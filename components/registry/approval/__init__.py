"""Approvals signed by the people who give them."""
