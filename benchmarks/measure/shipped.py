"""Networks that are not files yet, timed and weighed as the .onnx files that they would be."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from benchmarks.measure.latency import Call, Latency, measure
from compress.checkpoint import Checkpoint
from exports import Settings, format_of, noise


def file_of(checkpoint: Checkpoint, folder: Path, name: str) -> Path:
    """The .onnx file of a checkpoint without its lineage, in a folder for that; one of that name is replaced."""
    path = folder / f"{name}.onnx"
    path.unlink(missing_ok=True)
    format_of(path).write(checkpoint, path, Settings(lineage=False))
    return path


def latencies(files: Mapping[str, Path], *, sessions: int, rounds: int) -> dict[str, Latency]:
    """Name to the latency of one image in the runtime of its format, at one thread; all files take turns.

    Args:
        files: Files by name, each with its card.
        sessions: How often each file is opened.
        rounds: How often each session has its turn.
    """
    calls: dict[str, list[Call]] = {name: [] for name in files}
    for _ in range(sessions):
        for name, path in files.items():
            opened = format_of(path).read(path)
            assert opened.card is not None
            calls[name].append(opened.bind(noise(opened.card, 1).numpy()))
    return measure(calls, rounds=rounds)
