"""Layers of a network that no answer is made of."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from compress.checkpoint import Checkpoint, blank_image
from compress.quantization import idle_layers, plan
from compress.stages import Stage, Staged


class _Spare(nn.Module):
    """A layer that is never called, one that is called for nothing, and some whose weights are used without a call."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 8, 3, 2)
        self.spare = nn.Conv2d(8, 8, 1)
        self.vain = nn.Conv2d(8, 8, 1)
        self.lent = nn.Linear(8, 8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.tied = nn.Linear(8, 8)
        self.tied.weight = self.lent.weight
        self.head = nn.Linear(8, 10)

    def forward(self, image: Tensor) -> Tensor:
        seen = self.stem(image)
        self.vain(seen)
        pixels = nn.functional.linear(seen.flatten(2).transpose(1, 2), 2 * self.lent.weight)
        return self.head(self.attention(pixels, pixels, pixels, need_weights=False)[0].mean(1))


def _network() -> Staged:
    return Staged(_Spare(), (Stage("map", "stem", ("stem",), 8), Stage("logits", "head", ("head",), 10)))


def test_a_layer_is_idle_where_the_answer_is_made_without_it() -> None:
    assert idle_layers(_network(), torch.zeros(1, 1, 12, 12)) == ("spare", "vain")


def test_a_plan_leaves_idle_layers_as_they_are() -> None:
    network = _network()
    whole = [grid.module for grid in plan(network, 8)]
    assert [grid.module for grid in plan(network, 8, idle=("spare", "vain"))] == [
        name for name in whole if name not in ("spare", "vain")
    ]


def test_a_network_of_which_all_is_needed_has_none(teacher: Checkpoint) -> None:
    assert idle_layers(teacher.network, blank_image(teacher.card)) == ()
