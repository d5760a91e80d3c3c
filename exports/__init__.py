"""Networks in edge formats: written, read back as callables, and verified against their source.

What is named here is loaded when it is first used: to look at a file takes no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from exports.formats import CORE, FORMATS, Format, format_of, suffix_of

if TYPE_CHECKING:
    from exports.artefact import Artefact, Provenance
    from exports.parity import Parity, check_parity
    from exports.shipping import Shipped, ship
    from exports.source import DEFAULT_OPSET, OPSETS, Settings, noise

__all__ = [
    "CORE",
    "DEFAULT_OPSET",
    "FORMATS",
    "OPSETS",
    "Artefact",
    "Format",
    "Parity",
    "Provenance",
    "Settings",
    "Shipped",
    "check_parity",
    "format_of",
    "noise",
    "ship",
    "suffix_of",
]

_HOMES = {
    "DEFAULT_OPSET": "source",
    "OPSETS": "source",
    "Artefact": "artefact",
    "Parity": "parity",
    "Provenance": "artefact",
    "Settings": "source",
    "Shipped": "shipping",
    "check_parity": "parity",
    "noise": "source",
    "ship": "shipping",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
