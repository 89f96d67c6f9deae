"""From z-scores to a tumour mask."""
