"""What a shipped file costs and what it still knows: latency, size, accuracy, and the tables made of them."""
