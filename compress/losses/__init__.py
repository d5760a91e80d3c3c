"""Losses: pure functions of features, logits and labels that give a scalar."""

from compress.losses.features import feature_loss
from compress.losses.logits import cross_entropy_loss, kd_loss
from compress.losses.relations import cosine_kernel, pkt_loss, student_t_kernel

__all__ = ["cosine_kernel", "cross_entropy_loss", "feature_loss", "kd_loss", "pkt_loss", "student_t_kernel"]
