"""Files in fresh processes: how long until the first answer, how much memory, and what is said of those that fail."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from test_benchmark_compare import QUICK, _checkpoint
from test_conditions import findings, shown

from benchmarks.bench import compare
from benchmarks.document import record
from benchmarks.endurance import start_records
from benchmarks.measure.fresh import STATUS
from benchmarks.measure.start import Opened, Start, starts
from exports import noise, ship

IMAGES = np.zeros((1, 1, 32, 32), dtype=np.float32)
MB = 1_000_000
tells_peaks = pytest.mark.skipif(not STATUS.exists(), reason="this system does not tell what a process held at most")


def heavy(path: Path, megabytes: int) -> Path:
    """A linear network with so much of weights."""
    weight = np.zeros((megabytes * MB // 4 // 1024, 1024), dtype=np.float32)
    nodes = [helper.make_node("Flatten", ["x"], ["f"]), helper.make_node("Gemm", ["f", "w"], ["y"], transB=1)]
    ends = (("x", [1, 1, 32, 32]), ("y", [1, len(weight)]))
    source, target = (helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in ends)
    graph = helper.make_graph(nodes, "g", [source], [target], [numpy_helper.from_array(weight, "w")])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    return path


@tells_peaks
def test_weights_are_seen_in_the_memory_and_in_the_time(tmp_path: Path) -> None:
    files = {3: Opened(heavy(tmp_path / "a.onnx", 1), IMAGES), 5: Opened(heavy(tmp_path / "b.onnx", 101), IMAGES)}
    found, reasons = starts(files, tmp_path, processes=2)
    assert reasons == {}
    light, large = found[3], found[5]
    assert light.cold_ms.shape == light.peak_bytes.shape == (2,)
    assert (large.peak_bytes.min() - light.peak_bytes.max()) > 90 * MB
    assert 0 < light.cold_ms.min() < large.cold_ms.min()


def test_what_fails_has_its_reason_and_the_others_their_numbers(tmp_path: Path) -> None:
    broken, other = tmp_path / "broken.onnx", tmp_path / "model.ncnn"
    broken.write_bytes(b"not a model")
    files = {at: Opened(path, IMAGES) for at, path in enumerate((broken, other, heavy(tmp_path / "a.onnx", 1)))}
    found, reasons = starts(files, tmp_path, processes=1)
    assert list(found) == [2]
    assert reasons[0].startswith("failed in a fresh process: ")
    assert reasons[1] == "only .onnx and .tflite files are opened in processes of their own"


def test_records_are_the_median_and_the_range() -> None:
    cold, peak = start_records(Start(np.array([4.0, 1.0, 2.0]), np.array([30, 10, 20])))
    assert (cold.value, cold.low, cold.high, cold.n, cold.unit) == (2.0, 1.0, 4.0, 3, "ms")
    assert (peak.value, peak.low, peak.high, peak.n, peak.unit) == (20.0, 10.0, 30.0, 3, "bytes")
    _, untold = start_records(Start(np.array([4.0]), np.array([], dtype=np.int64)))
    assert (untold.value, bool(untold.reason)) == (None, True)


@pytest.mark.parametrize(("cold", "peak"), [([], []), ([1.0], [1, 2])])
def test_starts_of_other_shapes_are_refused(cold: list[float], peak: list[int]) -> None:
    with pytest.raises(ValueError, match="give one a process"):
        Start(np.array(cold), np.array(peak))


def test_a_benchmark_tells_the_start_of_each_format(tmp_path: Path) -> None:
    student = _checkpoint("cnn-s", tuple("abc"))
    files = [tmp_path / "student.onnx", tmp_path / "student.tflite"]
    for path in files:
        ship(student, path, [noise(student.card)])
    found = compare(files, baseline=0, protocol=replace(QUICK, cold=True))
    for file in found.document["files"]:
        cold, peak = record(file, "cold_start"), record(file, "peak_memory")
        assert cold is not None
        assert peak is not None
        assert cold["low"] <= cold["value"] <= cold["high"]
        assert cold["n"] == 6
        assert peak["value"] is None or peak["value"] > 10_000
    said = findings(found)
    assert not [one for one in said if one.found == "FAILED"]
    assert sum("start: cold_start" in one.sentence for one in said) == 2
    assert "start ms" in shown(found.document)
    record(found.document["files"][0], "cold_start")["value"] -= 0.1  # type: ignore[index]
    assert any("cold_start: value is" in one.sentence for one in findings(found) if one.found == "FAILED")
