"""Structured pruning: which channels to keep, and the surgery that leaves only them."""

from compress.edits import Cut, Drop, Surgery
from compress.pruning.blocks import MACS, saving
from compress.pruning.calibration import NOTHING, Calibration
from compress.pruning.choice import MULTIPLE, SCOPES, USUAL, Choice
from compress.pruning.importance import by_chance, filter_norms, largest
from compress.pruning.plan import Scored, prune, score
from compress.pruning.reconstruct import enough, reconstruct
from compress.pruning.scores import CRITERIA, read_criterion
from compress.pruning.shares import Share, Shares, shares_left
from compress.pruning.statistics import reestimate
from compress.pruning.steps import Step, in_steps, later
from compress.pruning.surgery import apply, narrow_taps
from compress.pruning.survivors import kept_channels, show_survivors
from compress.pruning.tracing import followed

__all__ = [
    "CRITERIA",
    "MACS",
    "MULTIPLE",
    "NOTHING",
    "SCOPES",
    "USUAL",
    "Calibration",
    "Choice",
    "Cut",
    "Drop",
    "Scored",
    "Share",
    "Shares",
    "Step",
    "Surgery",
    "apply",
    "by_chance",
    "enough",
    "filter_norms",
    "followed",
    "in_steps",
    "kept_channels",
    "largest",
    "later",
    "narrow_taps",
    "prune",
    "read_criterion",
    "reconstruct",
    "reestimate",
    "saving",
    "score",
    "shares_left",
    "show_survivors",
]
