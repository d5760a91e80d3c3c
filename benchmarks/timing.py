"""Everything that is timed of the files of a benchmark, in the order in which it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from benchmarks.contender import Contender
from benchmarks.measure.latency import Call, Clocks, Latency, measure
from benchmarks.measure.pinned import pinned
from benchmarks.measure.preprocessed import from_pixels
from benchmarks.measure.start import Opened, starts
from benchmarks.measure.sustained import Sustained, sustain
from benchmarks.protocol import Protocol
from benchmarks.raw import Raw
from compress.errors import ExportError
from compress.evidence import Record
from compress.text import counted
from exports import Artefact

SESSIONS_BYTES = 512_000_000
CPU_STEPS_A_TURN = 100
AGAIN, PREPARED = "again", "prepared"

Key = tuple[int, str | int]  # a file, and what of it: a number of images, `AGAIN` or `PREPARED`
Contenders = Mapping[int, Contender]
Say = Callable[[str], None]


@dataclass
class Timed:
    """What was read of the files, by their place.

    Attributes:
        raws: What could be.
        failed: Records of what could not, with the reasons.
    """

    raws: dict[int, Raw] = field(default_factory=dict)
    failed: dict[int, list[Record]] = field(default_factory=dict)


def timed(contenders: Contenders, protocol: Protocol, folder: Path, *, baseline: int, say: Say) -> Timed:
    """All that the protocol asks for.

    Args:
        contenders: By place.
        protocol: What is asked for.
        folder: For the files of what is run in processes of its own.
        baseline: The place of the one that is also held against itself.
        say: Is told what is being done.
    """
    found = Timed(failed={at: _unable(one, protocol) for at, one in contenders.items()})
    with pinned(protocol.pin):
        say("timing")
        taken = _latencies(contenders, protocol, baseline)
        for at in contenders:
            found.raws[at] = _raw(at, taken, protocol)
        if protocol.cold:
            say("starting fresh processes")
            _start(contenders, protocol, folder, found)
        if protocol.minutes:
            for at, one in contenders.items():
                found.raws[at] = replace(found.raws[at], sustained=_sustained(one, protocol, say))
    return found


def sessions_of(contender: Contender, protocol: Protocol) -> int:
    """How often a file is opened for each kind of call."""
    kinds = len(protocol.batches) + protocol.preprocessing
    return max(2, min(protocol.sessions, SESSIONS_BYTES // max(kinds * contender.exported.size_bytes, 1)))


def check_batch(contender: Contender, batch: int) -> None:
    """Nothing, where a file takes so many images at once.

    Raises:
        ExportError: It takes another number.
    """
    fixed = contender.exported.batch
    if fixed not in (None, batch):
        raise ExportError(
            f"{contender.given}: takes {counted(fixed, 'image')} at once, asked: {batch}; give --batch {fixed}"
        )


def _further(contender: Contender, protocol: Protocol) -> list[int]:
    """The batches but the first that a file takes."""
    return [size for size in protocol.batches[1:] if contender.exported.batch in (None, size)]


def _unable(contender: Contender, protocol: Protocol) -> list[Record]:
    fixed = contender.exported.batch
    if fixed is None:
        return []
    reason = f"takes {counted(fixed, 'image')} at once"
    lost = [size for size in protocol.batches[1:] if size not in _further(contender, protocol)]
    return [Record(f"latency batch {size}", None, unit="ms", reason=reason) for size in lost]


def _latencies(contenders: Contenders, protocol: Protocol, baseline: int) -> dict[Key, Latency]:
    """Of each file and of what of it; sessions are opened in turn, and closed before this returns."""
    sessions: dict[Key, list[Call]] = {}
    for number in range(protocol.sessions):
        for at, one in contenders.items():
            usual = sessions_of(one, protocol)
            if number >= usual:
                continue
            for key, bind in _wanted(at, one, protocol, again=at == baseline and number < max(2, usual // 2)):
                sessions.setdefault(key, []).append(bind(one.open(protocol.threads)))
    keys = {str(place): key for place, key in enumerate(sessions)}
    calls = dict(zip(keys, sessions.values(), strict=True))
    sessions.clear()
    taken = measure(calls, rounds=protocol.rounds, turn_ms=protocol.turn_ms, warmup_ms=protocol.warmup_ms)
    return {keys[name]: latency for name, latency in taken.items()}


def _wanted(
    at: int, one: Contender, protocol: Protocol, *, again: bool
) -> list[tuple[Key, Callable[[Artefact], Call]]]:
    """What is timed of a file in one of its sessions, and how a session of it is bound to that."""
    first = protocol.batches[0]

    def on(size: int) -> Callable[[Artefact], Call]:
        return lambda opened: opened.bind(one.images(size))

    wanted: list[tuple[Key, Callable[[Artefact], Call]]] = [((at, first), on(first))]
    if again:
        wanted.append(((at, AGAIN), on(first)))
    if protocol.preprocessing:
        pixels = np.repeat(one.pixels, first, axis=0)
        wanted.append(((at, PREPARED), lambda opened: from_pixels(opened, pixels, one.scale)))
    return [*wanted, *(((at, size), on(size)) for size in _further(one, protocol))]


def _raw(at: int, taken: Mapping[Key, Latency], protocol: Protocol) -> Raw:
    first, *others = protocol.batches
    return Raw(
        taken[at, first],
        _cpu_time_counts(protocol),
        images=first,
        again=taken.get((at, AGAIN)),
        batches={size: taken[at, size] for size in others if (at, size) in taken},
        prepared=taken.get((at, PREPARED)),
    )


def _cpu_time_counts(protocol: Protocol) -> bool:
    """Whether the thread that asks does all the work, and the clock of its CPU time is fine enough for a turn."""
    return protocol.threads == 1 and Clocks().cpu_step_ns() * CPU_STEPS_A_TURN <= protocol.turn_ms * 1e6


def _start(contenders: Contenders, protocol: Protocol, folder: Path, found: Timed) -> None:
    batch = protocol.batches[0]
    files = {at: Opened(one.exported.path, one.images(batch)) for at, one in contenders.items()}
    seen, reasons = starts(files, folder, threads=protocol.threads)
    for at, start in seen.items():
        found.raws[at] = replace(found.raws[at], start=start)
    for at, reason in reasons.items():
        lost = (("cold_start", "ms"), ("peak_memory", "bytes"))
        found.failed[at] += [Record(name, None, unit=unit, reason=reason) for name, unit in lost]


def _sustained(one: Contender, protocol: Protocol, say: Say) -> Sustained:
    def tell(part: int) -> None:
        say(f"{one.given.name}: {part} % of {protocol.minutes:g} minutes")

    call = one.open(protocol.threads).bind(one.images(protocol.batches[0]))
    return sustain(call, minutes=protocol.minutes, fps=protocol.fps, warmup_ms=protocol.warmup_ms, tell=tell)
