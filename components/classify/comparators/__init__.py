"""What the hybrid is judged against: random forest, age alone, feature tables."""
