"""Commands that bring answers to a PACS."""
