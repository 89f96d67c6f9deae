"""What a reader gets of an answer: page, figure, files."""
