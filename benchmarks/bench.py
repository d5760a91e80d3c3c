"""A file held against another: size, quality and latency, measured side by side, each in the runtime of its format."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.contender import AS_THE_DATA_SAY, Contender, check_file, named, open_contender
from benchmarks.costs import size
from benchmarks.measure.latency import Call, Clocks, Latency, measure
from benchmarks.measure.quality import agreement, quality
from benchmarks.pages import terminal
from benchmarks.verdict import LEVEL, POWER, judge, ratio
from compress import evidence
from compress.data import DataOptions
from compress.errors import DataError
from compress.opening import Named
from exports import format_of

COUNTS = ("parameters", "values", "macs", "size_bytes")
WALL, CPU = "wall time", "CPU time"
SESSIONS_BYTES = 512_000_000
CPU_STEPS_A_TURN = 100


@dataclass(frozen=True)
class Protocol:
    """How latency is measured; see `benchmarks.measure.latency.measure`.

    Attributes:
        threads: CPU threads of the runtime.
        sessions: How often each file is opened anew, at least 2; fewer where they would take more than 512 MB.
        rounds: How often each session has its turn.
        turn_ms: The length of a turn.
        warmup_ms: How long each session runs before the first round.
    """

    threads: int = 1
    sessions: int = 8
    rounds: int = 30
    turn_ms: float = 5.0
    warmup_ms: float = 50.0


def compare(
    file: Named | Path | str,
    against: Named | Path | str | None = None,
    *,
    data: str | None = None,
    options: DataOptions = AS_THE_DATA_SAY,
    protocol: Protocol = Protocol(),
    say: Callable[[str], None] = lambda _text: None,
) -> dict[str, Any]:
    """The document of a benchmark, see `benchmarks.pages.terminal`.

    All files are opened and checked before anything is timed. A checkpoint is exported to ONNX in a temporary folder.

    Args:
        file: A checkpoint, an exported file, or as `Named` with the network of a plain state dict.
        against: Another one, to hold it against.
        data: Name or path of a data set for the quality on its test split; None does not measure it.
        options: How a file that says nothing of it sees its images.
        protocol: How latency is measured.
        say: Is told what is being done.

    Raises:
        DataError, PlanError: A file is missing or of the wrong kind, or the data do not fit it.
        CheckpointError, ExportError, GateError: A file is damaged, or a checkpoint cannot be exported.
    """
    where = evidence.describe()
    files = [check_file(named(one)) for one in (file, against) if one is not None]
    with tempfile.TemporaryDirectory(prefix="edgepress-") as folder:
        say("opening the files")
        opened = partial(open_contender, folder=Path(folder), data=data, options=options, threads=protocol.threads)
        contenders = [opened(one) for one in files]
        if options != AS_THE_DATA_SAY and not any(one.foreign for one in contenders):
            names = " and ".join(str(one.given) for one in contenders)
            raise DataError(
                f"--size, --mean and the like: {names} say for themselves how to see images; leave them out"
            )
        say(f"timing, {protocol.rounds} rounds")
        taken = _latencies(contenders, protocol)
        say("measuring quality")
        timed_by_cpu = _cpu_time_counts(protocol)
        described = [_describe(one, time, cpu=timed_by_cpu) for one, time in zip(contenders, taken, strict=True)]
        alike = _agreement(contenders)
    return {
        "schema": terminal.SCHEMA,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": where,
        "protocol": _protocol(protocol, contenders),
        "data": _data(contenders[0]),
        "contenders": described,
        "ratio": {**_ratio(described, taken), "agreement": alike} if against is not None else None,
        "warnings": _warnings(where, contenders, protocol),
    }


def _latencies(contenders: list[Contender], protocol: Protocol) -> list[Latency]:
    """Of each contender; its sessions are opened in turn with those of the others, and closed before this returns."""
    sessions: dict[str, list[Call]] = {str(number): [] for number in range(len(contenders))}
    for number in range(protocol.sessions):
        for runs, one in zip(sessions.values(), contenders, strict=True):
            if number < _sessions(one, protocol):
                runs.append(one.open(protocol.threads).bind(one.image))
    taken = measure(sessions, rounds=protocol.rounds, turn_ms=protocol.turn_ms, warmup_ms=protocol.warmup_ms)
    return list(taken.values())


def _sessions(contender: Contender, protocol: Protocol) -> int:
    return max(2, min(protocol.sessions, SESSIONS_BYTES // max(contender.exported.size_bytes, 1)))


def _cpu_time_counts(protocol: Protocol) -> bool:
    """Whether the thread that asks does all the work, and the clock of its CPU time is fine enough for a turn."""
    return protocol.threads == 1 and Clocks().cpu_step_ns() * CPU_STEPS_A_TURN <= protocol.turn_ms * 1e6


def _describe(contender: Contender, taken: Latency, *, cpu: bool) -> dict[str, Any]:
    return {
        "name": str(contender.given),
        "made": contender.made,
        "input": list(contender.image.shape[1:]),
        "classes": contender.classes,
        **size(contender.exported),
        "task": contender.task.name,
        "metric": contender.task.headline,
        "quality": None if contender.data is None else quality(contender.exported, contender.data),
        "latency_ms": {**taken.summary, "cpu": taken.cpu_median_ms if cpu else None},
    }


def _agreement(contenders: list[Contender]) -> dict[str, Any] | None:
    match [(one.exported, one.data) for one in contenders if one.data is not None]:
        case [own, other]:
            return agreement(own, other)
    return None


def _protocol(protocol: Protocol, contenders: list[Contender]) -> dict[str, Any]:
    runtimes = dict.fromkeys(format_of(one.exported.path).runtime for one in contenders)
    return {
        "runtime": f"{' and '.join(runtimes)}, CPU",
        "threads": protocol.threads,
        "batch": 1,
        "sessions": protocol.sessions,
        "rounds": protocol.rounds,
        "turn_ms": protocol.turn_ms,
        "warmup_ms": protocol.warmup_ms,
        "io_binding": True,
        "level": LEVEL,
        "power": POWER,
    }


def _data(contender: Contender) -> dict[str, Any] | None:
    data = contender.data
    if data is None:
        return None
    return {"name": data.name, "fingerprint": data.fingerprint, "split": "test", "samples": len(data.test)}


def _ratio(described: list[dict[str, Any]], taken: list[Latency]) -> dict[str, Any]:
    own, other = described
    points, found = None, (own["quality"], other["quality"])
    if own["metric"] == other["metric"] and None not in found:
        points = 100 * (own["quality"]["value"] - other["quality"]["value"])
    return {
        **{count: other[count] / own[count] if own[count] and other[count] else None for count in COUNTS},
        "latency": _latency_ratio(*taken, cpu=own["latency_ms"]["cpu"] is not None),
        "points": points,
    }


def _latency_ratio(own: Latency, other: Latency, *, cpu: bool) -> dict[str, Any]:
    ratios = {WALL: ratio(other.wall_medians_ms, own.wall_medians_ms)}
    if cpu:
        ratios[CPU] = ratio(other.cpu_medians_ms, own.cpu_medians_ms)
    verdict = judge(ratios)
    return {
        **asdict(ratios[WALL]),
        "cpu": asdict(ratios[CPU]) if cpu else None,
        "verdict": verdict.kind,
        "words": verdict.words,
    }


def _warnings(where: dict[str, Any], contenders: list[Contender], protocol: Protocol) -> list[str]:
    busy = evidence.load_warning(where)
    fewer = [
        f"{one.given}: timed in {_sessions(one, protocol)} sessions instead of {protocol.sessions}, which "
        f"would take too much memory at {one.exported.size_bytes / 1e6:.0f} MB each; its interval is wider for it"
        for one in contenders
        if _sessions(one, protocol) < protocol.sessions
    ]
    return [*([busy] if busy else []), *fewer, *(doubt for contender in contenders for doubt in contender.doubts)]
