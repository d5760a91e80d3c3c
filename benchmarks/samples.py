"""The raw samples of a benchmark, every time and every decision, so that its verdicts can be derived anew.

A .npz file with, for the file at place I, `I/wall_ms` (sessions, rounds, calls) and `I/cpu_ms` (sessions, rounds),
milliseconds; where it decides images, also `I/decisions` (N,) and, once, `labels` (N,).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.bench import Measured
from compress.files import write_whole


def samples_path(document: Path) -> Path:
    """Where the raw samples of a document lie."""
    return document.with_suffix(".samples.npz")


def save_samples(measured: Mapping[int, Measured], path: Path, *, force: bool = False) -> dict[str, Any]:
    """What a document says of its raw samples, once they are written: file and sha256.

    Args:
        measured: By the place of the file.
        path: Where they go.
        force: Allow a file that already exists to be replaced.

    Raises:
        OutputError: The file may not or cannot be written.
    """
    arrays: dict[str, NDArray[Any]] = {}
    for at, one in measured.items():
        arrays[f"{at}/wall_ms"], arrays[f"{at}/cpu_ms"] = one.latency.wall_ms, one.latency.cpu_ms
        if one.judged is not None and one.judged.decisions is not None and one.judged.labels is not None:
            arrays[f"{at}/decisions"], arrays["labels"] = one.judged.decisions, one.judged.labels

    def write(staged: Path) -> None:
        with staged.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)

    write_whole(path, write, force=force)
    return {"file": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
