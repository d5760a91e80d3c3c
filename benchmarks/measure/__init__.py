"""One thing measured a file: latency, quality."""
