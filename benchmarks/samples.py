"""The raw samples of a benchmark, every time and every answer, so that its verdicts can be derived anew.

A .npz file with, for the file at place I:

    I/wall_ns (sessions, rounds, calls)   whole nanoseconds
    I/cpu_ms (sessions, rounds)           milliseconds; only where CPU time counts
    I/decisions, I/confidences (N,)       the class that it gives each image, and how sure it is of it, in steps of
                                          1/65,535; where it decides images. Beside them once: labels (N,)
    I/pixels (N, 3, C), I/alike (N, 2)    see benchmarks.raw.Segmented; where it decides pixels
    I/METRIC (N,)                         what each query has of each metric, in steps of 1/65,535; where it retrieves

Whole numbers are of the smallest type that holds them.
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
from benchmarks.raw import Decided, Raw, Retrieved, Said, Segmented, smallest
from compress.errors import DataError

NS_A_MS = 1e6
TIMES = ("wall_ns", "cpu_ms")
LABELS, DECISIONS, CONFIDENCES = "labels", "decisions", "confidences"
PIXELS, ALIKE = "pixels", "alike"
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
        for name, values in _said_arrays(one.said).items():
            arrays[name if name == LABELS else f"{at}/{name}"] = smallest(values)
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


def _said_arrays(said: Said | None) -> dict[str, NDArray[Any]]:
    if isinstance(said, Decided):
        return {LABELS: said.labels, DECISIONS: said.decisions, CONFIDENCES: said.confidences}
    if isinstance(said, Segmented):
        return {PIXELS: said.pixels} | ({} if said.alike is None else {ALIKE: said.alike})
    return dict(said.scores) if said is not None else {}


def _raw(arrays: Mapping[str, NDArray[Any]], at: int) -> Raw:
    own = {key.partition("/")[2]: values for key, values in arrays.items() if key.startswith(f"{at}/")}
    wall_ms = own["wall_ns"].astype(np.float64) / NS_A_MS
    cpu_ms = own.get("cpu_ms")
    latency = Latency(wall_ms, np.zeros(wall_ms.shape[:2]) if cpu_ms is None else cpu_ms)
    said = {name: values for name, values in own.items() if name not in TIMES}
    return Raw(latency, cpu_ms is not None, _said(said, arrays))


def _said(own: Mapping[str, NDArray[Any]], arrays: Mapping[str, NDArray[Any]]) -> Said | None:
    if DECISIONS in own:
        decisions, labels = own[DECISIONS].astype(np.int64), arrays[LABELS].astype(np.int64)
        return Decided(decisions, labels, own[CONFIDENCES].astype(np.uint16))
    if PIXELS in own:
        alike = own.get(ALIKE)
        return Segmented(own[PIXELS].astype(np.int64), None if alike is None else alike.astype(np.int64))
    return Retrieved({name: steps.astype(np.uint16) for name, steps in own.items()}) if own else None
