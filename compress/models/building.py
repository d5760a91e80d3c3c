"""Networks from their architectures: with weights, or in outline."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch

from compress import code
from compress.errors import CompressError
from compress.models import MODELS, TIMM, known_name
from compress.models.source import Architecture
from compress.stages import Stage, Staged


def build(architecture: Architecture, *, seed: int = 0, told: Mapping[str, str] | None = None) -> Staged:
    """The network, with weights that depend on the seed alone; torch's own random state is left as it was.

    Args:
        architecture: Name and arguments of a builder.
        seed: Of the initial weights.
        told: Stage to the module whose output is its feature, see `compress.models.found`.

    Raises:
        CompressError: The name or an option is unknown, the arguments do not make a network, or it does not answer as
            it should.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return _staged(_made(architecture), architecture, told or {}, checked=True)


def outline(
    architecture: Architecture, *, stages: tuple[Stage, ...] = (), told: Mapping[str, str] | None = None
) -> Staged:
    """The network without its weights: every tensor has its shape and its type, on the meta device, but no memory.

    Of a network from elsewhere (timm, a file of code) nobody knows what building it does: it is built as it is.

    Args:
        architecture: Name and arguments of a builder.
        stages: Those of a network that has none by its builder, where they are known; else they are looked for.
        told: See `build`.

    Raises:
        CompressError: See `build`.
    """
    network = _outlined(architecture)
    if stages and not network.stages:
        return replace(network, stages=stages)
    return _staged(network, architecture, told or {}, checked=True)


def rough(architecture: Architecture) -> Staged:
    """As `outline`, whatever number of outputs it has."""
    return _staged(_outlined(architecture), architecture, {}, checked=False)


def _outlined(architecture: Architecture) -> Staged:
    from compress.models.outlining import Outlining

    if code.is_own(architecture.name) or architecture.name.startswith(TIMM):
        with torch.random.fork_rng(devices=[]):
            return _made(architecture)
    with Outlining():
        network = _made(architecture)
    network.model.to("meta")
    return network


def _staged(network: Staged, architecture: Architecture, told: Mapping[str, str], *, checked: bool) -> Staged:
    """The network with its stages: its builder's or those that are found, but for those that were told."""
    if network.stages and not told:
        return network
    from compress.models.found import check_answer, find_stages, overruled

    name, shape = architecture.name, (architecture.channels, *architecture.size)
    image = torch.zeros(2, *shape, device=next(network.model.parameters()).device)
    try:
        if network.stages:
            return overruled(network, image, told)
        found, answer = find_stages(network.model, image, told)
        if checked:
            check_answer(answer, architecture.classes, architecture.size)
    except CompressError as error:
        raise CompressError(f"network {name!r}: {error}") from error
    except Exception as error:  # a network may raise anything about an image that it was not made for
        raise CompressError(
            f"network {name!r} fails on images of {'x'.join(map(str, shape))}: {code.said(error)}; give it the size "
            "and the channels that it takes"
        ) from error
    return found


def _made(architecture: Architecture) -> Staged:
    name = architecture.name
    builder, allowed = _builder(known_name(name))
    for option in architecture.options:
        if allowed is not None and option not in allowed:
            known = ", ".join(allowed) or "none"
            raise CompressError(f"network {name!r}: unknown option {option!r}; it takes: {known}")
    try:
        return builder(architecture)
    except (ValueError, AssertionError, RuntimeError) as error:  # the last where memory does not suffice
        raise CompressError(f"network {name!r} cannot be built: {error}") from error


def _builder(name: str) -> tuple[Callable[[Architecture], Staged], tuple[str, ...] | None]:
    """What builds a network, and the options that it takes; None where only the builder knows them."""
    if name in MODELS:
        return MODELS[name]
    if code.is_own(name):
        from compress.models.own import own

        return own, None
    if name.startswith(TIMM):
        from compress.models.from_timm import from_timm

        return from_timm, None
    from compress.models.vision import vision

    return vision, ()
