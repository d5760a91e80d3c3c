"""Structured pruning: which channels to keep, and the surgery that leaves only them."""

from compress.edits import Cut
from compress.pruning.choice import MULTIPLE, SCOPES, USUAL, Choice
from compress.pruning.importance import by_chance, filter_norms, largest
from compress.pruning.plan import Scored, prune, score
from compress.pruning.scores import CRITERIA
from compress.pruning.shares import Share, Shares, shares_left
from compress.pruning.surgery import apply, narrow_taps
from compress.pruning.survivors import show_survivors

__all__ = [
    "CRITERIA",
    "MULTIPLE",
    "SCOPES",
    "USUAL",
    "Choice",
    "Cut",
    "Scored",
    "Share",
    "Shares",
    "apply",
    "by_chance",
    "filter_norms",
    "largest",
    "narrow_taps",
    "prune",
    "score",
    "shares_left",
    "show_survivors",
]
