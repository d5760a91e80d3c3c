"""Structured pruning: which channels to keep, and the surgery that leaves only them."""

from compress.pruning.importance import filter_norms, largest
from compress.pruning.plan import prune
from compress.pruning.surgery import Cut, apply, narrow_taps

__all__ = ["Cut", "apply", "filter_norms", "largest", "narrow_taps", "prune"]
