"""Checkpoints and files that the tests of opening and of beginning are about."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from compress.checkpoint import Checkpoint
from compress.data import DataOptions

SMALL = DataOptions(size=(24, 24), fraction=0.1, augment=())


def weights_of(checkpoint: Checkpoint) -> dict[str, Tensor]:
    """The state dict of its network."""
    return checkpoint.network.model.state_dict()


def seen_as(checkpoint: Checkpoint, **changes: object) -> Checkpoint:
    """The checkpoint, as if it saw its images otherwise."""
    see = replace(checkpoint.card.preprocessing, **changes)  # type: ignore[arg-type]
    return replace(checkpoint, card=replace(checkpoint.card, preprocessing=see))


def plain_file(state: dict[str, Tensor], path: Path) -> str:
    """The path, where the weights now lie as a plain state dict."""
    torch.save(state, path)
    return str(path)
