"""The gateway: studies come in, a Triton server answers them, answers go back to the PACS."""
