"""The raw samples of a benchmark, every time and every decision, so that its verdicts can be derived anew.

A .npz file with, for the file at place I, `I/wall_ms` (sessions, rounds, calls) and `I/cpu_ms` (sessions, rounds),
milliseconds; where it decides images, also `I/decisions` (N,) and, once, `labels` (N,).
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.bench import Measured


def samples_path(document: Path) -> Path:
    """Where the raw samples of a document lie."""
    return document.with_suffix(".samples.npz")


def pack(measured: Mapping[int, Measured]) -> bytes:
    """The content of the file of raw samples.

    Args:
        measured: By the place of the file.
    """
    arrays: dict[str, NDArray[Any]] = {}
    for at, one in measured.items():
        arrays[f"{at}/wall_ms"], arrays[f"{at}/cpu_ms"] = one.latency.wall_ms, one.latency.cpu_ms
        if one.judged is not None and one.judged.decisions is not None and one.judged.labels is not None:
            arrays[f"{at}/decisions"], arrays["labels"] = one.judged.decisions, one.judged.labels
    content = io.BytesIO()
    np.savez_compressed(content, allow_pickle=False, **arrays)
    return content.getvalue()
