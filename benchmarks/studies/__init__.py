"""Studies over many runs: gathered from their checkpoints, and shown as tables."""
