"""The page of a benchmark: one HTML file that shows it, and carries all that it rests on."""
