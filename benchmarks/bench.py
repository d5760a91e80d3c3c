"""A file held against another: size, accuracy and latency, measured side by side in one runtime."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.contender import Contender, check_file, open_contender
from benchmarks.costs import size
from benchmarks.measure.latency import Samples, measure, ratio
from benchmarks.measure.quality import accuracy
from benchmarks.pages import terminal
from compress import evidence

RUNTIME = "ONNX Runtime, CPU"
RESAMPLES, LEVEL = 2000, 0.95
COUNTS = ("parameters", "values", "macs", "size_bytes")


@dataclass(frozen=True)
class Protocol:
    """How latency is measured; see `benchmarks.measure.latency.measure`."""

    threads: int = 1
    rounds: int = 60
    round_ms: float = 20.0
    warmup_ms: float = 300.0


def compare(
    file: Path,
    against: Path | None = None,
    *,
    data: str | None = None,
    protocol: Protocol = Protocol(),
    say: Callable[[str], None] = lambda _text: None,
) -> dict[str, Any]:
    """The document of a benchmark, see `benchmarks.pages.terminal`.

    All files are opened and checked before anything is timed. A checkpoint is exported to ONNX in a temporary folder.

    Args:
        file: A checkpoint or an exported file.
        against: Another one, to hold it against.
        data: Name or path of a data set for the accuracy on its test split; None does not measure it.
        protocol: How latency is measured.
        say: Is told what is being done.

    Raises:
        DataError: A file is missing or of the wrong kind, or the data do not fit it.
        CheckpointError, ExportError, GateError: A file is damaged, or a checkpoint cannot be exported.
    """
    where = evidence.describe()
    paths = [check_file(path) for path in (file, against) if path is not None]
    with tempfile.TemporaryDirectory(prefix="edgepress-") as folder:
        say("opening the files")
        contenders = [open_contender(path, Path(folder), data=data, threads=protocol.threads) for path in paths]
        say(f"timing, {protocol.rounds} rounds")
        samples = _latencies(contenders, protocol)
        say("measuring accuracy")
        described = [_describe(one, taken) for one, taken in zip(contenders, samples, strict=True)]
    return {
        "schema": terminal.SCHEMA,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": where,
        "protocol": _protocol(protocol),
        "data": _data(contenders[0]),
        "contenders": described,
        "ratio": _ratio(described, samples) if against is not None else None,
        "warnings": _warnings(where, contenders),
    }


def _latencies(contenders: list[Contender], protocol: Protocol) -> list[Samples]:
    runs = {str(number): one.exported.bind(one.image) for number, one in enumerate(contenders)}
    samples = measure(runs, rounds=protocol.rounds, round_ms=protocol.round_ms, warmup_ms=protocol.warmup_ms)
    return list(samples.values())


def _describe(contender: Contender, samples: Samples) -> dict[str, Any]:
    measured = None
    if contender.data is not None and contender.task == "classification":
        measured = accuracy(contender.exported, contender.data.test, contender.scale).summary
    return {
        "name": str(contender.given),
        "made": contender.made,
        "input": list(contender.image.shape[1:]),
        "classes": contender.classes,
        **size(contender.exported),
        "accuracy": measured,
        "latency_ms": samples.summary,
    }


def _protocol(protocol: Protocol) -> dict[str, Any]:
    return {
        "runtime": RUNTIME,
        "threads": protocol.threads,
        "batch": 1,
        "rounds": protocol.rounds,
        "round_ms": protocol.round_ms,
        "warmup_ms": protocol.warmup_ms,
        "io_binding": True,
        "resamples": RESAMPLES,
        "level": LEVEL,
    }


def _data(contender: Contender) -> dict[str, Any] | None:
    data = contender.data
    if data is None:
        return None
    return {"name": data.name, "fingerprint": data.fingerprint, "split": "test", "samples": len(data.test)}


def _ratio(described: list[dict[str, Any]], samples: list[Samples]) -> dict[str, Any]:
    own, other = described
    faster = ratio(samples[1], samples[0], resamples=RESAMPLES, level=LEVEL)
    points = None
    if own["accuracy"] is not None and other["accuracy"] is not None:
        points = 100 * (own["accuracy"]["top1"] - other["accuracy"]["top1"])
    return {
        **{count: other[count] / own[count] if own[count] and other[count] else None for count in COUNTS},
        "latency": {"value": faster.value, "low": faster.low, "high": faster.high, "unsure": faster.unsure},
        "top1_points": points,
    }


def _warnings(where: dict[str, Any], contenders: list[Contender]) -> list[str]:
    busy = evidence.load_warning(where)
    return [*([busy] if busy else []), *(doubt for contender in contenders for doubt in contender.doubts)]
