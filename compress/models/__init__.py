"""Networks by name: every builder takes an Architecture and returns a Staged."""

from __future__ import annotations

from collections.abc import Callable

import torch

from compress.errors import CompressError, unknown_name
from compress.models.cnn import OPTIONS as CNN_OPTIONS
from compress.models.cnn import cnn_a, cnn_s
from compress.models.source import Architecture
from compress.models.vision import vision, vision_names
from compress.stages import Staged

__all__ = ["MODELS", "Architecture", "build", "model_names"]

MODELS: dict[str, tuple[Callable[[Architecture], Staged], tuple[str, ...]]] = {
    "cnn-s": (cnn_s, CNN_OPTIONS),
    "cnn-a": (cnn_a, CNN_OPTIONS),
    **dict.fromkeys(vision_names(), (vision, ())),
}


def model_names() -> tuple[str, ...]:
    """Every name that `build` knows."""
    return tuple(MODELS)


def build(architecture: Architecture, *, seed: int = 0) -> Staged:
    """The network, with weights that depend on the seed alone; torch's own random state is left as it was.

    Args:
        architecture: Name and arguments of a builder.
        seed: Of the initial weights.

    Raises:
        CompressError: The name or an option is unknown, or the arguments do not make a network.
    """
    if architecture.name not in MODELS:
        raise CompressError(unknown_name("network", architecture.name, MODELS))
    builder, allowed = MODELS[architecture.name]
    for option in architecture.options:
        if option not in allowed:
            known = ", ".join(allowed) or "none"
            raise CompressError(f"network {architecture.name!r}: unknown option {option!r}; it takes: {known}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            return builder(architecture)
        except (ValueError, AssertionError, RuntimeError) as error:  # the last where memory does not suffice
            raise CompressError(f"network {architecture.name!r} cannot be built: {error}") from error
