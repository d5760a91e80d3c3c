"""The raw samples of a benchmark, every time and every decision, so that its verdicts can be derived anew.

A .npz file with, for the file at place I, `I/wall_ns` (sessions, rounds, calls), whole nanoseconds, and, where CPU
time counts, `I/cpu_ms` (sessions, rounds), milliseconds; where it decides images, also `I/decisions` (N,) and, once,
`labels` (N,). Whole numbers are of the smallest type that holds them.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.document import read
from benchmarks.measure.latency import Latency
from benchmarks.raw import Raw, smallest
from compress.errors import DataError

NS_A_MS = 1e6
DAMAGED = (ValueError, LookupError, OSError, EOFError, NotImplementedError, zlib.error, zipfile.BadZipFile)


def samples_path(document: Path) -> Path:
    """Where the raw samples of a document lie."""
    return document.with_suffix(".samples.npz")


def pack(raws: Mapping[int, Raw]) -> bytes:
    """The content of the file of raw samples.

    Args:
        raws: By the place of the file.
    """
    arrays: dict[str, NDArray[Any]] = {}
    for at, one in raws.items():
        arrays[f"{at}/wall_ns"] = smallest(np.rint(one.latency.wall_ms * NS_A_MS))
        if one.cpu_counts:
            arrays[f"{at}/cpu_ms"] = one.latency.cpu_ms
        if one.answered is not None:
            arrays[f"{at}/decisions"], arrays["labels"] = map(smallest, one.answered)
    content = io.BytesIO()
    np.savez_compressed(content, allow_pickle=False, **arrays)
    return content.getvalue()


def beside(path: Path) -> tuple[dict[str, Any], bytes]:
    """The benchmark in a file, and the content of the raw samples that lie beside it.

    Raises:
        DataError: One of them is missing, or is none.
    """
    document = read(path)
    named = document["samples"]
    if not named:
        raise DataError(f"{path}: has no raw samples; measure anew with `edgepress benchmark -o`, which keeps them")
    raw = path.parent / Path(named["file"]).name
    if not raw.is_file():
        raise DataError(f"{raw} does not exist; keep it beside {path.name}, whose raw samples it holds")
    return document, raw.read_bytes()


def read_samples(content: bytes, name: str) -> dict[int, Raw]:
    """The raw samples of every file, by its place.

    Args:
        content: Of the .npz file.
        name: What it is called where something is wrong with it.

    Raises:
        DataError: It is damaged, or not of this kind.
    """
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as kept:
            arrays = {key: kept[key] for key in kept.files}
        places = sorted({int(key.partition("/")[0]) for key in arrays if "/" in key})
        return {at: _raw(arrays, at) for at in places}
    except DAMAGED as error:
        raise DataError(f"{name}: holds no raw samples of a benchmark ({error}); measure anew") from error


def _raw(arrays: Mapping[str, NDArray[Any]], at: int) -> Raw:
    wall_ms = arrays[f"{at}/wall_ns"].astype(np.float64) / NS_A_MS
    cpu_ms = arrays.get(f"{at}/cpu_ms")
    decisions = arrays.get(f"{at}/decisions")
    return Raw(
        Latency(wall_ms, np.zeros(wall_ms.shape[:2]) if cpu_ms is None else cpu_ms),
        cpu_ms is not None,
        None if decisions is None else decisions.astype(np.int64),
        None if decisions is None else arrays["labels"].astype(np.int64),
    )
