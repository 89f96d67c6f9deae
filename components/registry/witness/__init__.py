"""Time-stamps of the ledger by an authority outside, and what an auditor keeps of them."""
