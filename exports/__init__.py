"""Networks in edge formats: written, read back as callables, and verified against their source."""

from __future__ import annotations

from exports.artefact import Artefact, Provenance
from exports.formats import CORE, FORMATS, Format, format_of, suffix_of
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
