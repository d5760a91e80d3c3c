"""Losses on the logits: the labels, or what the teacher believes about all classes."""

from __future__ import annotations

import math

from torch import Tensor
from torch.nn import functional as F

VOID = 255  # the label of a pixel that asks for nothing, as in `compress.data.split`


def cross_entropy_loss(student: Tensor, labels: Tensor) -> Tensor:
    """The mean cross-entropy of the student's logits and the labels, in nats: over the images, or over the pixels.

    Args:
        student: Logits (B, C); or (B, C, H, W), of each pixel.
        labels: Class of each image (B,), int64 in 0..C-1; or of each pixel (B, H, W), where `VOID` asks for nothing: 0
            where all of them are void.

    Raises:
        ValueError: The logits are of another shape, or there is not one label an image, or a pixel.
    """
    masks = student.ndim == 4
    wanted = (len(student), *student.shape[2:]) if masks else student.shape[:1]
    if student.ndim not in (2, 4) or labels.shape != wanted:
        raise ValueError(
            f"cross_entropy_loss: logits {tuple(student.shape)} and labels {tuple(labels.shape)}; "
            "expected (B, C) and (B,), or for masks (B, C, H, W) and (B, H, W)"
        )
    if not masks:
        return F.cross_entropy(student, labels)
    asked = (labels != VOID).sum().clamp(min=1)
    return F.cross_entropy(student, labels, ignore_index=VOID, reduction="sum") / asked


def kd_loss(student: Tensor, teacher: Tensor, tau: float) -> Tensor:
    """`tau`^2 times the Kullback-Leibler divergence from the student's to the teacher's softened classes.

    The mean over the batch of tau^2 * sum_c p_c (ln p_c - ln q_c), with p = softmax(teacher / tau) and
    q = softmax(student / tau); the factor keeps the gradient's size independent of tau.

    Args:
        student: Logits (B, C).
        teacher: Logits (B, C).
        tau: Temperature, above 0 and finite; 1 leaves the probabilities as they are.

    Raises:
        ValueError: The shapes differ or are not (B, C), or `tau` is out of its range.

    Reference: Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network", 2015.
    """
    if not 0 < tau < math.inf:
        raise ValueError(f"kd_loss: tau is {tau}; it must be above 0 and finite")
    if student.ndim != 2 or student.shape != teacher.shape:
        raise ValueError(
            f"kd_loss: student {tuple(student.shape)} and teacher {tuple(teacher.shape)}; expected the same (B, C)"
        )
    log_p = F.log_softmax(teacher / tau, dim=1)
    log_q = F.log_softmax(student / tau, dim=1)
    return F.kl_div(log_q, log_p, reduction="batchmean", log_target=True) * tau**2
