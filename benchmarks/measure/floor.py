"""The noise floor of a machine: how far a file seems to be from itself, and what difference would be seen."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from benchmarks.measure.latency import Call, measure
from benchmarks.verdict import Ratio, ratio
from compress.evidence import Record
from exports import format_of

SESSIONS, ROUNDS, TURN_MS, WARMUP_MS = 6, 10, 5.0, 20.0  # about 3 s
SIDE, WIDTH, LAYERS = 32, 16, 3  # some tenths of a millisecond a run, as small networks take
OPSET, IR_VERSION = 20, 10


@dataclass(frozen=True)
class Floor:
    """What one file against itself came to, by wall time on one thread.

    Attributes:
        ratio: Of one group of its sessions to another, all opened anew and timed in turn.
        sessions: Of each group.
        median_ms: What a run took.
    """

    ratio: Ratio
    sessions: int
    median_ms: float

    @property
    def most(self) -> float:
        """How much slower one group may be than the other, as a share (0.02: 2 %): the far end of the interval."""
        return max(self.ratio.high, 1 / self.ratio.low) - 1

    @property
    def words(self) -> str:
        """The same as a sentence."""
        return (
            f"two groups of {self.sessions} sessions of one file ({self.median_ms:.2g} ms) differ by at most "
            f"{_percent(self.most)}; a difference of {_percent(self.ratio.least)} would be seen"
        )

    def records(self) -> list[Record]:
        """The same as data."""
        own = self.ratio
        return [
            Record("aa_ratio", own.value, own.low, own.high, n=self.sessions, unit="x"),
            Record("least_speedup", 1 + own.least, n=self.sessions, unit="x"),
        ]


def noise_floor(*, sessions: int = SESSIONS, rounds: int = ROUNDS) -> Floor:
    """A small network in ONNX Runtime, held against itself as `benchmark` holds a file against another.

    Args:
        sessions: Of each of the two groups, at least 2.
        rounds: How often each session has its turn.
    """
    with tempfile.TemporaryDirectory(prefix="edgepress-") as folder:
        path = Path(folder) / "floor.onnx"
        onnx.save(_network(), path)
        image = torch.rand(1, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
        groups: dict[str, list[Call]] = {"one": [], "other": []}
        for _ in range(sessions):
            for runs in groups.values():
                runs.append(format_of(path).read(path).bind(image))
        taken = measure(groups, rounds=rounds, turn_ms=TURN_MS, warmup_ms=WARMUP_MS)
    one, other = taken["one"].wall_medians_ms, taken["other"].wall_medians_ms
    return Floor(ratio(other, one), sessions, taken["one"].median_ms)


def _network() -> onnx.ModelProto:
    """Convolutions and ReLUs on an image of one channel, written node by node: no exporter has to be imported."""
    chance, nodes, weights = np.random.default_rng(0), [], []
    for layer in range(LAYERS):
        shape = (WIDTH, WIDTH if layer else 1, 3, 3)
        weight = (chance.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)
        weights.append(numpy_helper.from_array(weight, f"weight {layer}"))
        given = f"feature {layer - 1}" if layer else "input"
        nodes.append(helper.make_node("Conv", [given, f"weight {layer}"], [f"sum {layer}"], pads=[1] * 4))
        nodes.append(helper.make_node("Relu", [f"sum {layer}"], [f"feature {layer}"]))
    ends = (("input", [1, 1, SIDE, SIDE]), (f"feature {LAYERS - 1}", [1, WIDTH, SIDE, SIDE]))
    taken, made = (helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in ends)
    graph = helper.make_graph(nodes, "floor", [taken], [made], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %"
