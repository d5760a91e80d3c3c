"""The raw samples of a benchmark, every time and every answer, so that its verdicts can be derived anew.

A .npz file with, for the file at place I:

    I/wall_ns (sessions, rounds, calls)   whole nanoseconds
    I/cpu_ms (sessions, rounds)           milliseconds; only where CPU time counts
    I/images ()                           how many images a call is of
    I/again, I/batchN, I/prepared         below these the two above, where they were measured
    I/start, I/sustained                  below these the arrays of benchmarks.measure.start.Start and
                                          benchmarks.measure.sustained.Sustained; of this, in place of `starts_ns`,
                                          `steps_ns` from one start to the next
    I/said/decisions, I/said/confidences (N,)   the class that it gives each image, and how sure it is of it, in steps
                                          of 1/65,535; where it decides images. Beside them once: labels (N,)
    I/said/pixels (N, 3, C), I/said/alike (N, 2)   see benchmarks.raw.Segmented; where it decides pixels
    I/said/METRIC (N,)                    what each query has of each metric, in steps of 1/65,535; where it retrieves

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
from benchmarks.measure.start import Start
from benchmarks.measure.sustained import Sustained
from benchmarks.raw import Decided, Raw, Retrieved, Said, Segmented, smallest
from compress.errors import DataError

NS_A_MS = 1e6
STARTED = ("cold_ms", "peak_bytes")
SAID, LABELS, DECISIONS, CONFIDENCES = "said", "labels", "decisions", "confidences"
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
        others = {"again": one.again, "prepared": one.prepared}
        timed = {"": one.latency, **others, **{f"batch{size}": taken for size, taken in one.batches.items()}}
        for name, latency in timed.items():
            if latency is not None:
                arrays |= _times(f"{at}/{name}".rstrip("/"), latency, cpu_counts=one.cpu_counts)
        arrays[f"{at}/images"] = smallest(np.array(one.images))
        if one.start is not None:
            arrays |= {f"{at}/start/{name}": getattr(one.start, name) for name in STARTED}
        if one.sustained is not None:
            arrays |= {f"{at}/sustained/{name}": part for name, part in _calls(one.sustained).items()}
        for name, values in _said_arrays(one.said).items():
            arrays[name if name == LABELS else f"{at}/{SAID}/{name}"] = smallest(values)
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


def _times(name: str, latency: Latency, *, cpu_counts: bool) -> dict[str, NDArray[Any]]:
    wall = {f"{name}/wall_ns": smallest(np.rint(latency.wall_ms * NS_A_MS))}
    return wall | ({f"{name}/cpu_ms": latency.cpu_ms} if cpu_counts else {})


def _calls(run: Sustained) -> dict[str, NDArray[Any]]:
    whole = {
        "steps_ns": np.diff(run.starts_ns, prepend=0),
        "took_ns": run.took_ns,
        "stalls_ns": run.stalls_ns,
        "frames": run.frames,
        "count": np.array(run.count),
    }
    return {**{name: smallest(part) for name, part in whole.items()}, "fps": np.array(run.fps)}


def _said_arrays(said: Said | None) -> dict[str, NDArray[Any]]:
    if isinstance(said, Decided):
        return {LABELS: said.labels, DECISIONS: said.decisions, CONFIDENCES: said.confidences}
    if isinstance(said, Segmented):
        return {PIXELS: said.pixels} | ({} if said.alike is None else {ALIKE: said.alike})
    return dict(said.scores) if said is not None else {}


def _raw(arrays: Mapping[str, NDArray[Any]], at: int) -> Raw:
    begins = f"{at}/batch"
    sizes = sorted({int(key.split("/")[1].removeprefix("batch")) for key in arrays if key.startswith(begins)})
    latency = _latency(arrays, str(at))
    if latency is None:
        raise KeyError(f"{at}/wall_ns")
    return Raw(
        latency,
        f"{at}/cpu_ms" in arrays,
        _said(_below(arrays, f"{at}/{SAID}"), arrays),
        images=int(arrays[f"{at}/images"]),
        again=_latency(arrays, f"{at}/again"),
        batches={size: taken for size in sizes if (taken := _latency(arrays, f"{begins}{size}"))},
        prepared=_latency(arrays, f"{at}/prepared"),
        start=_start(arrays, f"{at}/start"),
        sustained=_sustained(arrays, f"{at}/sustained"),
    )


def _below(arrays: Mapping[str, NDArray[Any]], name: str) -> dict[str, NDArray[Any]]:
    return {key.removeprefix(f"{name}/"): values for key, values in arrays.items() if key.startswith(f"{name}/")}


def _latency(arrays: Mapping[str, NDArray[Any]], name: str) -> Latency | None:
    if f"{name}/wall_ns" not in arrays:
        return None
    wall_ms = arrays[f"{name}/wall_ns"].astype(np.float64) / NS_A_MS
    return Latency(wall_ms, arrays.get(f"{name}/cpu_ms", np.zeros(wall_ms.shape[:2])))


def _start(arrays: Mapping[str, NDArray[Any]], name: str) -> Start | None:
    parts = {part: arrays.get(f"{name}/{part}") for part in STARTED}
    cold_ms, peak_bytes = parts["cold_ms"], parts["peak_bytes"]
    return None if cold_ms is None or peak_bytes is None else Start(cold_ms, peak_bytes)


def _sustained(arrays: Mapping[str, NDArray[Any]], name: str) -> Sustained | None:
    if f"{name}/took_ns" not in arrays:
        return None
    steps, took, stalls, frames = (
        arrays[f"{name}/{part}"].astype(np.int64) for part in ("steps_ns", "took_ns", "stalls_ns", "frames")
    )
    count, fps = arrays[f"{name}/count"], arrays[f"{name}/fps"]
    return Sustained(np.cumsum(steps), took, stalls, int(count), float(fps), frames)


def _said(own: Mapping[str, NDArray[Any]], arrays: Mapping[str, NDArray[Any]]) -> Said | None:
    if DECISIONS in own:
        decisions, labels = own[DECISIONS].astype(np.int64), arrays[LABELS].astype(np.int64)
        return Decided(decisions, labels, own[CONFIDENCES].astype(np.uint16))
    if PIXELS in own:
        alike = own.get(ALIKE)
        return Segmented(own[PIXELS].astype(np.int64), None if alike is None else alike.astype(np.int64))
    return Retrieved({name: steps.astype(np.uint16) for name, steps in own.items()}) if own else None
