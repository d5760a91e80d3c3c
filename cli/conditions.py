"""Under what conditions files are measured: the options, and the protocol that they make."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from cli import options

if TYPE_CHECKING:
    from benchmarks.protocol import Protocol

LONGEST_MINUTES, MOST_FRAMES = 10_000, 10_000
GROUP = options.CONDITIONS

_Batch = Annotated[
    list[str] | None,
    options.words("--batch", "N[,N]", help="Images of a call; all figures are of the first. [default: 1]", group=GROUP),
]
_Pin = Annotated[
    list[str] | None,
    options.words("--pin", "CPU[,CPU]", help="Time on these CPUs alone, by their numbers from 0.", group=GROUP),
]
_WarmUp = Annotated[
    float | None,
    options.measure(
        "--warm-up", options.TIMES, "30ms or 2s", help="How long each session runs before. [default: 30ms]", group=GROUP
    ),
]
_Preprocessing = Annotated[
    bool,
    options.switch(
        "--with-preprocessing",
        help="Also time calls that begin with uint8 pixels; latency is of the network alone.",
        group=GROUP,
    ),
]
_Cold = Annotated[
    bool,
    options.switch(
        "--cold", help="Also open each file in fresh processes: time to its first answer, peak memory.", group=GROUP
    ),
]
_Minutes = Annotated[
    float | None,
    options.number(
        "--minutes",
        0,
        LONGEST_MINUTES,
        "(]",
        help="Also run each file on and on for so long, in its own turn: drift, stalls.",
        group=GROUP,
    ),
]
_Fps = Annotated[
    float | None,
    options.number(
        "--fps",
        0,
        MOST_FRAMES,
        "(]",
        help="With --minutes: frames a second, and how many are answered too late. [default: call upon call]",
        group=GROUP,
    ),
]


@dataclass(frozen=True)
class Conditions:
    """Under what conditions files are measured, an option each."""

    batch: _Batch = None
    pin: _Pin = None
    warm_up: _WarmUp = None
    with_preprocessing: _Preprocessing = False
    cold: _Cold = False
    minutes: _Minutes = None
    fps: _Fps = None


AT_REST = Conditions()


def read_protocol(given: Conditions, *, threads: int, sessions: int, rounds: int) -> Protocol:
    """How files are measured.

    Args:
        given: As it was typed.
        threads: See `benchmarks.protocol.Protocol`.
        sessions: Likewise.
        rounds: Likewise.

    Raises:
        DataError: The batches or the CPUs are no lists of numbers, or the options do not go together.
    """
    from benchmarks.protocol import USUAL, Protocol

    return Protocol(
        threads=threads,
        sessions=sessions,
        rounds=rounds,
        warmup_ms=given.warm_up or USUAL.warmup_ms,
        batches=_numbers("--batch", given.batch, 1, "1,8") or (1,),
        pin=_numbers("--pin", given.pin, 0, "0,1"),
        preprocessing=given.with_preprocessing,
        cold=given.cold,
        minutes=given.minutes or 0.0,
        fps=given.fps or 0.0,
    )


def _numbers(flag: str, given: list[str] | None, least: int, example: str) -> tuple[int, ...]:
    """All whole numbers of an option that may be repeated, and of its lists, each once and in their order."""
    from compress.errors import DataError

    words = [word.strip() for text in given or () for word in text.split(",")]
    for word in words:
        if not (word.isascii() and word.isdecimal() and len(word) <= 9 and int(word) >= least):
            raise DataError(f"{flag}: got {word!r:.60}; give whole numbers of at least {least}, such as {example}")
    return tuple(dict.fromkeys(map(int, words)))
