"""Data sets: by name or from an image folder, as batches of (image, target, index)."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from compress.data.found import VOID
from compress.data.known import DATASETS, DataStatus, data_root, status
from compress.data.prepare import AUGMENTATIONS, DataOptions

if TYPE_CHECKING:
    from compress.data.assemble import MEMORY_LIMIT_BYTES, load
    from compress.data.split import Batch, Dataset, Split

__all__ = [
    "AUGMENTATIONS",
    "DATASETS",
    "MEMORY_LIMIT_BYTES",
    "VOID",
    "Batch",
    "DataOptions",
    "DataStatus",
    "Dataset",
    "Split",
    "data_root",
    "load",
    "status",
]

_WITH_TORCH = {
    "MEMORY_LIMIT_BYTES": "assemble",
    "load": "assemble",
    "Batch": "split",
    "Dataset": "split",
    "Split": "split",
}


def __getattr__(name: str) -> Any:
    """A name whose file needs torch, which the list of data sets does without."""
    if name not in _WITH_TORCH:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_WITH_TORCH[name]}"), name)
