"""Networks by name: every builder takes an Architecture and returns a Staged.

The names are here without torch; what builds a network is loaded when it is first asked to.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib import import_module
from typing import TYPE_CHECKING, Any

from compress import code
from compress.errors import CompressError, unknown_name
from compress.models.ours import CNN_OPTIONS, LAYERS, UNET
from compress.models.source import Architecture, Option
from compress.preprocessing import Size

if TYPE_CHECKING:
    from compress.models.building import build, outline, rough
    from compress.stages import Staged

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
_WITH_TORCH = ("build", "outline", "rough")


def _late(module: str, name: str) -> Callable[[Architecture], Staged]:
    """A builder in a module of this package that is imported when it is first called."""

    def build_with(architecture: Architecture) -> Staged:
        network: Staged = getattr(import_module(f"{__name__}.{module}"), name)(architecture)
        return network

    return build_with


MODELS: dict[str, tuple[Callable[[Architecture], Staged], tuple[str, ...]]] = {
    "cnn-s": (_late("cnn", "cnn_s"), CNN_OPTIONS),
    "cnn-a": (_late("cnn", "cnn_a"), CNN_OPTIONS),
    **dict.fromkeys(LAYERS, (_late("resnet", "resnet"), ())),
    **{UNET + name: (_late("unet", "unet"), ()) for name in LAYERS},
}


def __getattr__(name: str) -> Any:
    """A name whose file needs torch, which the names of networks do without."""
    if name not in _WITH_TORCH:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.building"), name)


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
