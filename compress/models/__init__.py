"""Networks by name: every builder takes an Architecture and returns a Staged."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch

from compress import code
from compress.errors import CompressError, unknown_name
from compress.models.cnn import OPTIONS as CNN_OPTIONS
from compress.models.cnn import cnn_a, cnn_s
from compress.models.resnet import LAYERS, resnet
from compress.models.source import Architecture, Option
from compress.models.unet import PREFIX, unet
from compress.preprocessing import Size
from compress.stages import Stage, Staged

__all__ = [
    "MODELS",
    "Architecture",
    "Option",
    "build",
    "canonical",
    "known_name",
    "model_names",
    "named",
    "outline",
    "rough",
]

TORCHVISION = "torchvision:"
TIMM = "timm:"


MODELS: dict[str, tuple[Callable[[Architecture], Staged], tuple[str, ...]]] = {
    "cnn-s": (cnn_s, CNN_OPTIONS),
    "cnn-a": (cnn_a, CNN_OPTIONS),
    **dict.fromkeys(LAYERS, (resnet, ())),
    **{PREFIX + name: (unet, ()) for name in LAYERS},
}


def model_names() -> tuple[str, ...]:
    """Every network by the shortest name that `build` knows: our own, then torchvision's.

    Those that have a namesake of ours are "torchvision:resnet18" and "torchvision:resnet34".
    """
    from compress.models.vision import vision_names

    return (*MODELS, *(TORCHVISION + name if name in MODELS else name for name in vision_names()))


def canonical(name: str) -> str:
    """The name of a network as cards keep it, whether or not there is one: "squeezenet1_1" is torchvision's."""
    if code.is_own(name):
        return code.short(name)
    return name if name in MODELS or ":" in name else TORCHVISION + name


def known_name(name: str) -> str:
    """The name of a network as cards keep it: "resnet18" is ours, "torchvision:resnet18" torchvision's.

    A network in a file of code is "my_model.py:build", wherever the file lies; nothing is run.

    Raises:
        CompressError: There is no such network.
    """
    whole = canonical(name)
    if whole in MODELS or code.is_own(name):
        return whole
    if name.endswith(code.SUFFIX):
        raise CompressError(f"network {name!r}: a file of code; give the function in it, too: {name}:FACTORY")
    if whole.startswith(TIMM):
        from compress.models.from_timm import timm_name

        return timm_name(whole)
    from compress.models.vision import vision_names

    theirs = [TORCHVISION + each for each in vision_names()]
    if whole not in theirs:
        known = theirs if name.startswith(TORCHVISION) else model_names()
        raise CompressError(unknown_name("network", name, known))
    return whole


def named(
    name: str, classes: int, channels: int, size: Size, options: Mapping[str, Option] | None = None
) -> Architecture:
    """The architecture of a network as a user named it; a file of code that is thereby named may be run from here on.

    Args:
        name: Such as "cnn-s", "timm:resnet18" or "folder/my_model.py:build".
        classes: Outputs.
        channels: Of an image.
        size: Height and width of an image in pixels.
        options: Further arguments of its builder.

    Raises:
        CompressError: There is no such network or file.
    """
    made = Architecture(known_name(name), classes, channels, size, options or {})
    return replace(made, sha256=code.name_file(code.parts(name)[0]).sha256) if code.is_own(name) else made


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
