"""The mean of a network's weights over the steps that led to them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Average:
    """What a network's weights were over the steps of a phase, on average; the later, the more they count.

    After step n it is the sum of decay^(n - i) * weights_i over the steps i = 1..n, divided by the sum of the
    decay^(n - i): the weights before the first step are no part of it. What is averaged are the parameters that learn
    and, of the student, running statistics (the averaged weights give other features than the latest, and the latest
    statistics would not be theirs); counters stay the latest. What does not change has itself for its mean, to the bit.

    Args:
        decay: In (0, 1).
        student: The network.
        losses: Those of its losses that own parameters, by term.

    Reference: Polyak and Juditsky, Acceleration of Stochastic Approximation by Averaging, 1992.
    Deviates: the mean is exponential, and corrected for its start as Adam's moments are.
    """

    def __init__(self, decay: float, student: nn.Module, losses: Mapping[str, nn.Module]) -> None:
        modules = {"student": student, **{f"loss {name}": module for name, module in losses.items()}}
        parameters = {
            f"{name}/{key}": parameter
            for name, module in modules.items()
            for key, parameter in module.named_parameters()
            if parameter.requires_grad
        }
        statistics = {f"student/{key}": buffer for key, buffer in student.named_buffers() if buffer.is_floating_point()}
        self._latest: dict[str, Tensor] = {**parameters, **statistics}
        self._decay = decay
        self.steps = 0
        self.means = {key: value.detach().clone() for key, value in self._latest.items()}

    @torch.no_grad()
    def follow(self) -> None:
        """Take in the weights after one more step."""
        self.steps += 1
        share = (1 - self._decay) / (1 - self._decay**self.steps)
        for key, value in self._latest.items():
            self.means[key].lerp_(value, share)

    @torch.no_grad()
    def put(self) -> None:
        """Give the networks the means in place of their weights, for good."""
        for key, value in self._latest.items():
            value.copy_(self.means[key])

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Inside the `with`, the networks have the means; afterwards their own weights again."""
        own = {key: value.detach().clone() for key, value in self._latest.items()}
        self.put()
        try:
            yield
        finally:
            with torch.no_grad():
                for key, value in self._latest.items():
                    value.copy_(own[key])

    @torch.no_grad()
    def restore(self, steps: int, means: Mapping[str, Tensor]) -> None:
        """Go on from the means after so many steps; KeyError or RuntimeError where they are those of other weights."""
        if means.keys() != self.means.keys():
            raise KeyError(f"averages of other names: {', '.join(sorted(means.keys() ^ self.means.keys())[:3])}")
        self.steps = steps
        for key, value in means.items():
            self.means[key].copy_(value)
