"""Losses: pure functions of features, logits and labels that give a scalar; classes where they own parameters."""

from compress.losses.attention import attention_loss
from compress.losses.contrast import CRD
from compress.losses.correlation import dist_loss
from compress.losses.decoupled import dkd_loss
from compress.losses.distances import mkt_loss
from compress.losses.features import feature_loss
from compress.losses.flow import flow_matrix, fsp_loss
from compress.losses.hint import Hint
from compress.losses.logits import cross_entropy_loss, kd_loss
from compress.losses.relations import cosine_kernel, pkt_loss, student_t_kernel

__all__ = [
    "CRD",
    "Hint",
    "attention_loss",
    "cosine_kernel",
    "cross_entropy_loss",
    "dist_loss",
    "dkd_loss",
    "feature_loss",
    "flow_matrix",
    "fsp_loss",
    "kd_loss",
    "mkt_loss",
    "pkt_loss",
    "student_t_kernel",
]
