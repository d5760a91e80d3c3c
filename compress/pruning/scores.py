"""The scores of coupled channels by a criterion; those with the least go first."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from torch import Tensor

from compress.errors import PlanError, unknown_name
from compress.pruning.choice import Choice
from compress.pruning.coupling import Coupling, Role
from compress.pruning.importance import filter_norms


def scores(layers: Sequence[Coupling], choice: Choice) -> Iterator[Tensor | None]:
    """For each of the couplings the scores (width,) of its channels, or None where the criterion has none for it.

    Raises:
        PlanError: The criterion is unknown.
    """
    if choice.criterion not in CRITERIA:
        raise PlanError(unknown_name("criterion", choice.criterion, CRITERIA))
    return map(CRITERIA[choice.criterion], layers)


def averaged(layer: Coupling, roles: Sequence[Role], measure: Callable[[Tensor], Tensor]) -> Tensor | None:
    """The mean over some layers of a measure of each channel, which is 1 on average in each of them; None without any.

    Args:
        layer: The coupled channels.
        roles: The layers.
        measure: (n, K) rows of a weight to (n,) values.
    """
    found = []
    for role in roles:
        values = measure(role.rows())
        found.append(values.new_zeros(layer.width).index_add(0, role.channels, values))
    return torch.stack([values / values.mean().clamp_min(1e-30) for values in found]).mean(dim=0) if found else None


def _l1(layer: Coupling) -> Tensor | None:
    return averaged(layer, layer.roles, filter_norms)


CRITERIA: Mapping[str, Callable[[Coupling], Tensor | None]] = {"l1": _l1}
