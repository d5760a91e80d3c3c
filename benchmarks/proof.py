"""What a smaller network has won as a file: bytes and time, held against the network that it was."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.blame import Blamed, blame
from benchmarks.derive import CPU, WALL, latency_record
from benchmarks.measure.latency import Latency
from benchmarks.measure.operators import spent, subject_of
from benchmarks.measure.shipped import file_of, latencies
from benchmarks.verdict import Ratio, Verdict, judge, ratio
from compress.checkpoint import Checkpoint
from compress.evidence import Record

SESSIONS, ROUNDS = 8, 10


@dataclass(frozen=True)
class Proof:
    """What two .onnx files weigh, without their lineage, and take, for one image in ONNX Runtime at one thread.

    Attributes:
        size_bytes: Of the file before and after.
        taken: Latency before and after; the files took turns.
        ratio: How many times as long the file before takes, by wall time.
        verdict: What may be said of that.
        blamed: Where it was seen not to be faster: the layers that take more than their share, see `benchmarks.blame`.
    """

    size_bytes: tuple[int, int]
    taken: tuple[Latency, Latency]
    ratio: Ratio
    verdict: Verdict
    blamed: tuple[Blamed, ...] = ()

    @property
    def gained_nothing(self) -> bool:
        """Whether it was seen not to be faster; of an unsure verdict nothing is concluded."""
        return self.verdict.kind in ("slower", "same")

    @property
    def latency_ms(self) -> tuple[float, float]:
        """Median before and after."""
        return self.taken[0].median_ms, self.taken[1].median_ms

    def before(self) -> list[Record]:
        """Bytes and milliseconds of the file before, with the 95 % interval over sessions."""
        return _file_records(self.size_bytes[0], self.taken[0])

    def after(self) -> list[Record]:
        """The same of the file after, and how many times as fast it is."""
        found = self.ratio
        faster = Record("speedup", found.value, found.low, found.high, n=SESSIONS, unit="x")
        return [*_file_records(self.size_bytes[1], self.taken[1]), faster]


def _file_records(size: int, taken: Latency) -> list[Record]:
    return [Record("size", size, unit="bytes"), latency_record("latency", taken)]


def prove(small: Checkpoint, whole: Checkpoint) -> Proof:
    """Both networks as .onnx files, weighed and timed in turn; where that gained nothing, profiled as well.

    Args:
        small: What was made of it.
        whole: What it was.

    Raises:
        ExportError: One of them cannot be written as .onnx.
    """
    networks = {"before": whole, "after": small}
    with tempfile.TemporaryDirectory(prefix="edgepress-") as folder:
        files = {name: file_of(one, Path(folder), name) for name, one in networks.items()}
        sizes = tuple(path.stat().st_size for path in files.values())
        taken = latencies(files, sessions=SESSIONS, rounds=ROUNDS)
        before, after = taken["before"], taken["after"]
        pairs = ((before.wall_medians_ms, after.wall_medians_ms), (before.cpu_medians_ms, after.cpu_medians_ms))
        ratios = {clock: ratio(*pair) for clock, pair in zip((WALL, CPU), pairs, strict=True)}
        verdict = judge(ratios)
        proof = Proof((sizes[0], sizes[1]), (before, after), ratios[WALL], verdict)
        return replace(proof, blamed=_blamed(files, networks)) if proof.gained_nothing else proof


def _blamed(files: Mapping[str, Path], networks: Mapping[str, Checkpoint]) -> tuple[Blamed, ...]:
    taken = spent({name: subject_of(path, networks[name]) for name, path in files.items()})
    return tuple(blame(taken["before"], taken["after"]))
