"""Benchmarks of edgepress itself, each a script that repeats a recorded result."""
