"""What a stranger can check with public tools: statements, their envelopes, a bill of materials."""
