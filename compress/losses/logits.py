"""Losses on the logits: the labels, or what the teacher believes about all classes."""

from __future__ import annotations

import math

from torch import Tensor
from torch.nn import functional as F

VOID = 255  # the label of a pixel that asks for nothing, as in `compress.data.split`


def cross_entropy_loss(student: Tensor, labels: Tensor, smoothing: float = 0.0) -> Tensor:
    """The mean cross-entropy of the student's logits and the labels, in nats: over the images, or over the pixels.

    Args:
        student: Logits (B, C); or (B, C, H, W), of each pixel.
        labels: Class of each image (B,), int64 in 0..C-1; its distribution over the classes (B, C), floating-point, as
            a mixed image has it; or the class of each pixel (B, H, W), where `VOID` asks for nothing: 0 with the
            gradient 0 where all of them are void.
        smoothing: Share of each label that is spread over all classes alike, in [0, 1).

    Raises:
        ValueError: The logits are of another shape, there is not one label an image or a pixel, or `smoothing` is out
            of its range.

    Reference: Szegedy, Vanhoucke, Ioffe, Shlens and Wojna, "Rethinking the Inception Architecture for Computer
        Vision", CVPR 2016, Sec. 7 (smoothing).
    """
    if not 0 <= smoothing < 1:
        raise ValueError(f"cross_entropy_loss: smoothing is {smoothing}; allowed is 0 up to, not including, 1")
    masks, soft = student.ndim == 4, labels.is_floating_point() and student.ndim == 2
    wanted = student.shape if soft else (len(student), *student.shape[2:]) if masks else student.shape[:1]
    if student.ndim not in (2, 4) or labels.shape != wanted:
        raise ValueError(
            f"cross_entropy_loss: logits {tuple(student.shape)} and labels {tuple(labels.shape)} of {labels.dtype}; "
            "expected (B, C) and (B,), or (B, C) where they are floating-point, or for masks (B, C, H, W) and (B, H, W)"
        )
    if not masks:
        return F.cross_entropy(student, labels.to(student.dtype) if soft else labels, label_smoothing=smoothing)
    asked = (labels != VOID).sum().clamp(min=1)
    total = F.cross_entropy(student, labels, ignore_index=VOID, reduction="sum", label_smoothing=smoothing)
    return total / asked


def kd_loss(student: Tensor, teacher: Tensor, tau: float) -> Tensor:
    """`tau`^2 times the Kullback-Leibler divergence from the student's to the teacher's softened classes.

    The mean over the batch of tau^2 * sum_c p_c (ln p_c - ln q_c), with p = softmax(teacher / tau) and
    q = softmax(student / tau); the factor keeps the gradient's size independent of tau.

    Args:
        student: Logits (B, C), or (B, C, H, W), whose pixels count as images.
        teacher: Logits of the same shape.
        tau: Temperature, above 0 and finite; 1 leaves the probabilities as they are.

    Raises:
        ValueError: The shapes differ or are none of these, or `tau` is out of its range.

    Reference: Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network", 2015.
    """
    if not 0 < tau < math.inf:
        raise ValueError(f"kd_loss: tau is {tau}; it must be above 0 and finite")
    rows, targets = as_rows("kd_loss", student, teacher)
    log_p = F.log_softmax(targets / tau, dim=1)
    log_q = F.log_softmax(rows / tau, dim=1)
    return F.kl_div(log_q, log_p, reduction="batchmean", log_target=True) * tau**2


def as_rows(loss: str, student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Logits (B, C) as they are, or (B, C, H, W) as (B * H * W, C), one row a pixel.

    Args:
        loss: Whose arguments they are.
        student: Logits.
        teacher: Logits of the same shape.

    Raises:
        ValueError: The shapes differ or are none of these.
    """
    if student.ndim not in (2, 4) or student.shape != teacher.shape:
        raise ValueError(
            f"{loss}: student {tuple(student.shape)} and teacher {tuple(teacher.shape)}; expected the same (B, C), "
            "or (B, C, H, W)"
        )
    if student.ndim == 2:
        return student, teacher
    first, second = (logits.movedim(1, -1).flatten(0, -2) for logits in (student, teacher))
    return first, second
