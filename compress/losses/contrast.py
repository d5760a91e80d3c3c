"""Contrastive representation distillation: an image's two embeddings, told from those of other images."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

WIDTH = 128


class CRD(nn.Module):
    """How badly, in nats an image, the student's and the teacher's embedding of an image are told from others.

    Two linear heads bring both embeddings to 128 numbers of unit length. The student's is compared with the teacher's
    of the same image and with those of `negatives` other images, which a bank remembers; and the other way round. Of
    each direction the loss is -ln h(own) - sum over the negatives of ln(1 - h), h = e / (e + K / M) with
    e = exp(cosine / tau) / Z, K negatives, M images; Z is M times the mean of exp(cosine / tau) in the first batch.

    In training every batch writes its embeddings into the banks, momentum * old + (1 - momentum) * new, and draws its
    negatives by torch's random state, with replacement, one draw for the whole batch; an image that is drawn does not
    count against itself. In eval mode nothing is written, and the negatives lie evenly over the bank. Of several
    processes the banks follow the first.

    Args:
        width: Of the student's embedding.
        wide: Of the teacher's.
        images: M, how many there are to learn from, at least 2.
        negatives: K, at least 1.
        tau: Temperature, above 0.
        momentum: Of the banks, in [0, 1).

    Raises:
        ValueError: A number is out of its range.

    Reference: Tian, Krishnan and Isola, "Contrastive Representation Distillation", ICLR 2020, Eqs. 10, 17-19.
    Deviates: negatives are other images, of the same class too, and are shared by the images of a batch, which leaves
        the expected gradient as it is; the released code draws for each image, from other classes, and takes the own
        image's embedding too from the bank.
    """

    student_bank: Tensor
    teacher_bank: Tensor
    scale: Tensor

    def __init__(
        self,
        width: int,
        wide: int,
        images: int,
        *,
        negatives: int = 16_384,
        tau: float = 0.07,
        momentum: float = 0.5,
    ) -> None:
        super().__init__()
        if images < 2 or negatives < 1 or not 0 < tau < math.inf or not 0 <= momentum < 1:
            raise ValueError(
                f"CRD: {images} images, {negatives} negatives, tau {tau}, momentum {momentum}; allowed are 2 images or "
                "more, 1 negative or more, tau above 0, momentum in [0, 1)"
            )
        self.negatives, self.tau, self.momentum = negatives, tau, momentum
        self.student_head, self.teacher_head = nn.Linear(width, WIDTH), nn.Linear(wide, WIDTH)
        for bank in ("student_bank", "teacher_bank"):
            self.register_buffer(bank, F.normalize(torch.randn(images, WIDTH), dim=1))
        self.register_buffer("scale", torch.zeros(2))

    def forward(self, student: Tensor, teacher: Tensor, index: Tensor) -> Tensor:
        """Embeddings (B, ...) of both and the positions (B,) of their images to a scalar.

        Raises:
            ValueError: Batch sizes or widths differ from what is expected.
        """
        for side, features, head in (("student", student, self.student_head), ("teacher", teacher, self.teacher_head)):
            if len(features) != len(index) or features.flatten(1).shape[1] != head.in_features:
                raise ValueError(
                    f"CRD: {side} {tuple(features.shape)} for {len(index)} images; expected (B, {head.in_features})"
                )
        ours = F.normalize(self.student_head(student.flatten(1)), dim=1)
        theirs = F.normalize(self.teacher_head(teacher.flatten(1)), dim=1)
        images = len(self.student_bank)
        if self.training:
            drawn = torch.randint(images, (self.negatives,), device=index.device)
            own = index[:, None] == drawn
        else:
            drawn = torch.arange(self.negatives, device=index.device) * images // self.negatives % images
            own = torch.zeros(len(index), self.negatives, dtype=torch.bool, device=index.device)
        loss = self._told(0, ours, theirs, (self.teacher_bank[drawn], own))
        loss = loss + self._told(1, theirs, ours, (self.student_bank[drawn], own))
        if self.training:
            self._remember(self.student_bank, ours, index)
            self._remember(self.teacher_bank, theirs, index)
        return loss

    def _told(self, way: int, anchors: Tensor, partners: Tensor, others: tuple[Tensor, Tensor]) -> Tensor:
        """The loss of one direction, for anchors (B, 128), their partners, and (K, 128) others with who is whose."""
        bank, own = others
        positive = (anchors * partners).sum(dim=1) / self.tau
        negative = (anchors @ bank.T) / self.tau
        shift = math.log(self.negatives) + self._scale(way, positive.detach(), negative.detach())
        apart = F.logsigmoid(shift - negative).masked_fill(own, 0.0).sum(dim=1)
        return -(F.logsigmoid(positive - shift) + apart).mean()

    def _scale(self, way: int, positive: Tensor, negative: Tensor) -> Tensor:
        """ln(Z / M): that of the first batch, which in training is kept."""
        if self.scale[way] != 0:
            return self.scale[way].clone()
        exponents = torch.cat([positive, negative.flatten()])
        scale = exponents.logsumexp(dim=0) - math.log(len(exponents))
        if self.training:
            self.scale[way] = scale
        return scale

    @torch.no_grad()
    def _remember(self, bank: Tensor, features: Tensor, index: Tensor) -> None:
        mixed = self.momentum * bank[index] + (1 - self.momentum) * features
        bank[index] = F.normalize(mixed, dim=1)
