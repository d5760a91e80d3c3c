"""Structured pruning: which channels to keep, and the surgery that leaves only them."""

from compress.edits import Cut
from compress.pruning.importance import by_chance, filter_norms, largest
from compress.pruning.plan import prune
from compress.pruning.reconstruct import reconstruct
from compress.pruning.shares import Share, Shares, shares_left
from compress.pruning.statistics import reestimate
from compress.pruning.surgery import apply, narrow_taps
from compress.pruning.survivors import kept_channels, show_survivors

__all__ = [
    "Cut",
    "Share",
    "Shares",
    "apply",
    "by_chance",
    "filter_norms",
    "kept_channels",
    "largest",
    "narrow_taps",
    "prune",
    "reconstruct",
    "reestimate",
    "shares_left",
    "show_survivors",
]
