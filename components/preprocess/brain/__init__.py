"""Brain extraction on the T1C."""
