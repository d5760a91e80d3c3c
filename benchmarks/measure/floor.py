"""A small network that a machine is held against itself by; see `benchmarks.noise`."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from benchmarks.measure.latency import Call, measure
from benchmarks.noise import Floor
from benchmarks.verdict import ratio
from exports import format_of

SESSIONS, ROUNDS, TURN_MS, WARMUP_MS = 6, 10, 5.0, 20.0  # about 3 s
SIDE, WIDTH, LAYERS = 32, 16, 3  # some tenths of a millisecond a run, as small networks take
OPSET, IR_VERSION = 20, 10


def noise_floor(*, sessions: int = SESSIONS, rounds: int = ROUNDS) -> Floor:
    """A small network in ONNX Runtime, held against itself as `benchmark` holds a file against another.

    Args:
        sessions: Of each of the two groups, at least 2.
        rounds: How often each session has its turn.
    """
    with tempfile.TemporaryDirectory(prefix="edgepress-") as folder:
        path = Path(folder) / "floor.onnx"
        onnx.save(_network(), path)
        image = np.random.default_rng(0).random((1, 1, SIDE, SIDE), dtype=np.float32)
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
