"""The graph of an exported file: what is taken out of it, and what it weighs and costs."""
