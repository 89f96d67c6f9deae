"""The gateway: studies come in from a PACS, are answered by a Triton server, and answers go back."""
