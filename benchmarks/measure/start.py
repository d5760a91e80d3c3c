"""What it takes a program to begin with a file: the time to its first answer, and the memory, in fresh processes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.measure.fresh import RUNTIMES

SCRIPT = Path(__file__).with_name("fresh.py")
PROCESSES = 6  # the least number whose whole range holds the median with 95 %: 1 - 2 * 0.5 ** 6 is 97 %
MOST_S = 120.0


@dataclass(frozen=True)
class Opened:
    """What is opened.

    Attributes:
        path: A file.
        images: (B, C, H, W), of the type that it takes.
    """

    path: Path
    images: NDArray[Any]


@dataclass(frozen=True)
class Start:
    """What was seen of one file in fresh processes, whose file system had it in memory from the second one on.

    Attributes:
        cold_ms: (processes,), from the first line that names the file to its first answer, in milliseconds; Python and
            the runtime were imported before.
        peak_bytes: (processes,), the most memory that the process held (its resident set) until that answer, above what
            it held when all was imported; what the imports had freed by then may be used again and does not show.
            Empty where the system does not tell.
    """

    cold_ms: NDArray[np.float64]
    peak_bytes: NDArray[np.int64]

    def __post_init__(self) -> None:
        if self.cold_ms.ndim != 1 or self.cold_ms.size == 0 or self.peak_bytes.shape not in ((0,), self.cold_ms.shape):
            raise ValueError(f"starts: got shapes {self.cold_ms.shape} and {self.peak_bytes.shape}; give one a process")


def starts(
    files: Mapping[int, Opened], folder: Path, *, threads: int = 1, processes: int = PROCESSES
) -> tuple[dict[int, Start], dict[int, str]]:
    """Of each file what was seen of it, or else the reason why nothing was; the files take turns.

    Args:
        files: By any number.
        folder: For what the processes read.
        threads: CPU threads of the runtime.
        processes: For each file.
    """
    found: dict[int, list[dict[str, Any]]] = {at: [] for at in files}
    reasons: dict[int, str] = {}
    asked = {at: _asked(one, folder / f"{at}.npy", threads) for at, one in files.items()}
    for _ in range(processes):
        for at, one in files.items():
            if at in reasons:
                continue
            seen = _fresh(one, asked[at])
            if isinstance(seen, str):
                reasons[at] = seen
            else:
                found[at].append(seen)
    return {at: _start(seen) for at, seen in found.items() if at not in reasons}, reasons


def _asked(one: Opened, images: Path, threads: int) -> str:
    np.save(images, one.images)
    told = {"file": str(one.path), "suffix": one.path.suffix, "threads": threads, "images": str(images)}
    return json.dumps(told)


def _fresh(one: Opened, asked: str) -> dict[str, Any] | str:
    """What one process printed, or why it printed nothing."""
    if one.path.suffix not in RUNTIMES:
        return f"only {' and '.join(RUNTIMES)} files are opened in processes of their own"
    words = [sys.executable, "-P", str(SCRIPT), asked]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=MOST_S, check=False)
    except subprocess.TimeoutExpired:
        return f"gave no answer in a fresh process within {MOST_S:.0f} s"
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        return f"failed in a fresh process: {lines[-1]:.200}"
    seen: dict[str, Any] = json.loads(done.stdout)
    return seen


def _start(seen: list[dict[str, Any]]) -> Start:
    peaks = [one["peak_bytes"] for one in seen]
    return Start(np.array([one["cold_ms"] for one in seen]), np.array([] if None in peaks else peaks, dtype=np.int64))
