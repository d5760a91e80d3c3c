"""A model with all that another machine needs to run it, and to show that it runs as it did here, in one zip."""

from __future__ import annotations

from exports.bundle.making import BUNDLED, Bundle, check_bundled, make_bundle, open_bundled
from exports.bundle.pictures import Pictures, noise_pictures, pictures_of

__all__ = [
    "BUNDLED",
    "Bundle",
    "Pictures",
    "check_bundled",
    "make_bundle",
    "noise_pictures",
    "open_bundled",
    "pictures_of",
]
