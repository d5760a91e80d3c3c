"""The study of formats and precisions, small: one network, one scheme, what was trained beside what was rounded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from benchmarks.protocol import Protocol
from benchmarks.studies.precisions import markdown, study
from compress.checkpoint import Checkpoint, save
from compress.errors import DataError
from compress.quantization import plan
from compress.smaller import quantized
from exports import CORE


@pytest.mark.parametrize("suffixes", [CORE[:1], pytest.param(CORE, marks=pytest.mark.slow)], ids=["one", "all"])
def test_every_file_has_a_row_and_what_cannot_be_had_a_reason(
    teacher: Checkpoint, teacher_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffixes: Sequence[str]
) -> None:
    monkeypatch.setattr("benchmarks.studies.precisions.CORE", suffixes)
    small = quantized(teacher, plan(teacher.network, 4), "edgepress quantize", rounding="nearest")
    trained = {"w4": [save(small, tmp_path / "w4.safetensors")]}
    protocol = Protocol(sessions=2, rounds=2, turn_ms=1, warmup_ms=1)
    found = study([teacher_path], trained, "digits", against=teacher_path, schemes=["w8"], protocol=protocol)
    rows = {row["name"]: row for row in found["rows"]}
    names = [f"{made}{suffix}" for made in ("fp32", "w8", "w4 trained") for suffix in suffixes]
    assert [row["name"] for row in found["rows"]] == names
    assert found["refused"] == {}
    assert rows["fp32.onnx"]["ratio"]["value"] == 1
    assert rows["fp32.onnx"]["agreement"] == [1.0]
    assert rows["fp32.onnx"]["before"] == rows["fp32.onnx"]["after"]
    sizes = [rows[name]["bare_bytes"][0] for name in ("fp32.onnx", "w8.onnx", "w4 trained.onnx")]
    assert sizes == sorted(sizes, reverse=True)
    assert all(row["bare_bytes"][0] < row["bytes"][0] for row in rows.values())
    assert found["against"]["bytes"] == rows["fp32.onnx"]["bytes"][0]
    assert all(row["speedup"]["low"] <= row["speedup"]["value"] <= row["speedup"]["high"] for row in rows.values())
    page = markdown({**found, "refused": {"w2.onnx": "no such type"}})
    assert all(f"| {name} | " in page for name in names)
    assert "- w2.onnx: no such type" in page


def test_as_many_trained_networks_as_others_are_needed(teacher_path: Path) -> None:
    with pytest.raises(DataError, match="0 trained checkpoints for 1 networks"):
        study([teacher_path], {"w4": []}, "digits")
