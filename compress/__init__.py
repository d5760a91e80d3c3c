"""The library of edgepress: networks in, networks out; it knows no command line and no edge format.

What is named here is loaded when it is first used: `import compress` alone costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from compress.card import Card
    from compress.checkpoint import Checkpoint, load, load_plain, save
    from compress.code import naming as naming_code
    from compress.data import DataOptions, Dataset
    from compress.data import load as load_data
    from compress.errors import CompressError
    from compress.initial import open_initial
    from compress.jobs import Auxiliary, Distillation, Job, Recovery, distil, recovered, train
    from compress.models import Architecture, build, model_names
    from compress.named import Named
    from compress.opening import new_network, open_beside, open_network, open_pair
    from compress.phase import Fit, Phase
    from compress.preprocessing import Preprocessing
    from compress.recipes import RECIPES, Method, read_method
    from compress.smaller import cut
    from compress.stages import Stage, Staged
    from compress.tasks import TASKS
    from compress.training.engine import Run
    from compress.training.journal import Journal

__version__ = "0.1.0"

_HOMES: dict[str, str] = {
    "RECIPES": "compress.recipes",
    "TASKS": "compress.tasks",
    "Architecture": "compress.models",
    "Auxiliary": "compress.jobs",
    "Card": "compress.card",
    "Checkpoint": "compress.checkpoint",
    "CompressError": "compress.errors",
    "DataOptions": "compress.data",
    "Dataset": "compress.data",
    "Distillation": "compress.jobs",
    "Fit": "compress.phase",
    "Job": "compress.jobs",
    "Journal": "compress.training.journal",
    "Method": "compress.recipes",
    "Named": "compress.named",
    "Phase": "compress.phase",
    "Preprocessing": "compress.preprocessing",
    "Recovery": "compress.jobs",
    "Run": "compress.training.engine",
    "Stage": "compress.stages",
    "Staged": "compress.stages",
    "build": "compress.models",
    "cut": "compress.smaller",
    "distil": "compress.jobs",
    "load": "compress.checkpoint",
    "load_data": "compress.data:load",
    "load_plain": "compress.checkpoint",
    "model_names": "compress.models",
    "naming_code": "compress.code:naming",
    "new_network": "compress.opening",
    "open_beside": "compress.opening",
    "open_initial": "compress.initial",
    "open_network": "compress.opening",
    "open_pair": "compress.opening",
    "read_method": "compress.recipes",
    "recovered": "compress.jobs",
    "save": "compress.checkpoint",
    "train": "compress.jobs",
}

__all__ = [
    "RECIPES",
    "TASKS",
    "Architecture",
    "Auxiliary",
    "Card",
    "Checkpoint",
    "CompressError",
    "DataOptions",
    "Dataset",
    "Distillation",
    "Fit",
    "Job",
    "Journal",
    "Method",
    "Named",
    "Phase",
    "Preprocessing",
    "Recovery",
    "Run",
    "Stage",
    "Staged",
    "__version__",
    "build",
    "cut",
    "distil",
    "load",
    "load_data",
    "load_plain",
    "model_names",
    "naming_code",
    "new_network",
    "open_beside",
    "open_initial",
    "open_network",
    "open_pair",
    "read_method",
    "recovered",
    "save",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'compress' has no attribute {name!r}")
    home, _, own = _HOMES[name].partition(":")
    return getattr(importlib.import_module(home), own or name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
