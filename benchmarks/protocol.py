"""How files are measured: what a person may choose, and what it is called in a document."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.verdict import LEVEL, POWER
from compress.errors import DataError

INSIDE = "inside"


@dataclass(frozen=True)
class Protocol:
    """How files are measured; see `benchmarks.measure`.

    Attributes:
        threads: CPU threads of the runtime.
        sessions: How often each file is opened anew, at least 2; fewer where they would take more than 512 MB.
        rounds: How often each session has its turn.
        turn_ms: The length of a turn.
        warmup_ms: How long each session runs before the first round.
        batches: Images of one call, at least one number; all but the first are measured beside the first.
        pin: The CPUs that all is timed on; empty for those that the system chooses.
        preprocessing: Also time a call that starts from pixels.
        cold: Also open each file in fresh processes, see `benchmarks.measure.start`.
        minutes: How long each file also runs on and on, see `benchmarks.measure.sustained`; 0 for not at all.
        fps: Frames a second that it is given meanwhile; 0 for one as soon as the last is answered.

    Raises:
        DataError: Frames are asked for and no time to give them in.
    """

    threads: int = 1
    sessions: int = 8
    rounds: int = 20
    turn_ms: float = 5.0
    warmup_ms: float = 30.0
    batches: tuple[int, ...] = (1,)
    pin: tuple[int, ...] = ()
    preprocessing: bool = False
    cold: bool = False
    minutes: float = 0.0
    fps: float = 0.0

    def __post_init__(self) -> None:
        if self.fps and not self.minutes:
            raise DataError(f"fps: {self.fps:g} frames a second, but for how long? say --minutes as well")
        if not self.batches or min(self.batches) < 1 or len(set(self.batches)) < len(self.batches):
            raise DataError(f"batch: got {list(self.batches)}; give at least one number of images, each once")

    def to_dict(self, runtimes: Sequence[str]) -> dict[str, Any]:
        """The protocol of a document, see `benchmarks.document`.

        Args:
            runtimes: What the files run in.
        """
        return {
            "runtime": f"{' and '.join(runtimes)}, CPU",
            "threads": self.threads,
            "batch": self.batches[0],
            "batches": list(self.batches),
            "sessions": self.sessions,
            "rounds": self.rounds,
            "turn_ms": self.turn_ms,
            "warmup_ms": self.warmup_ms,
            "pin": list(self.pin),
            "preprocessing": f"outside and {INSIDE}" if self.preprocessing else "outside",
            "cold": self.cold,
            "minutes": self.minutes,
            "fps": self.fps,
            "io_binding": True,
            "level": LEVEL,
            "power": POWER,
        }


USUAL = Protocol()
