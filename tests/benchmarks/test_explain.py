"""Where the time of a file goes, and the advice on it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from test_benchmark_compare import _checkpoint, _foreign, _run

from benchmarks.explain import advice
from benchmarks.measure.operators import Operation, Spent
from compress.cost import Product
from compress.data import DataOptions, load
from exports import noise, ship

VNNI = ("avx512_vnni",)


def _operation(layer: str, operator: str, time_ms: float, blocked_width: int = 0) -> Operation:
    return Operation(layer, operator, "CPUExecutionProvider", layer, blocked_width, time_ms)


def _product(layer: str, outputs: int, inputs: int, macs: int) -> Product:
    return Product(layer=layer, weight=(outputs, inputs, 3, 3), groups=1, macs=macs)


def test_a_layer_that_whole_numbers_slow_down_is_named() -> None:
    layers = {"first": 4.0, "second": 1.0, "third": 1.0}
    taken = Spent(
        tuple(_operation(name, "QLinearConv", ms) for name, ms in layers.items()),
        tuple(_product(name, 16, 16, 100_000) for name in layers),
    )
    (sentence,) = advice(taken, VNNI, quantized=True)
    assert sentence.startswith("first takes 67 % of the time, for its MACs 4 times as long as the others")
    assert "--keep-float first" in sentence
    even = Spent(tuple(_operation(name, "QLinearConv", 1.0) for name in layers), taken.products)
    assert advice(even, VNNI, quantized=True) == []


def test_what_is_no_faster_for_its_bits() -> None:
    (sentence,) = advice(Spent((_operation("first", "Conv", 1.0, 16),)), VNNI, quantized=True)
    assert "it is smaller, not faster" in sentence
    (without,) = advice(Spent((_operation("first", "QLinearConv", 1.0),)), ("avx2",), quantized=True)
    assert "has no dot products of bytes" in without


def test_changes_on_the_way_and_odd_widths() -> None:
    operations = (
        _operation("first", "Conv", 1.0, 16),
        _operation("", "ReorderOutput", 0.1),
        _operation("odd", "Conv", 1.0),
        _operation("", "ReorderInput", 0.1),
    )
    layouts, widths = advice(Spent(operations, (_product("odd", 403, 16, 1000),)), VNNI, quantized=False)
    assert layouts == "2 changes of layout (ReorderOutput, ReorderInput) take 9 % of the time"
    assert "odd (403 from 16 channels)" in widths
    between = (
        _operation("first", "QLinearConv", 1.0),
        _operation("", "DequantizeLinear", 0.2),
        _operation("", "HardSwish", 0.2),
        _operation("", "QuantizeLinear", 0.2),
    )
    (sentence,) = advice(Spent(between), VNNI, quantized=True)
    assert (
        "2 changes between float and whole numbers take 25 % of the time; in float between them: HardSwish" in sentence
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("explained")
    student = _checkpoint("cnn-s", load("digits", DataOptions()).classes)
    for suffix in ("onnx", "tflite"):
        ship(student, folder / f"student.{suffix}", [noise(student.card)])
    _foreign(folder / "foreign.onnx", [1, 1, 8, 8])
    return folder


def test_files_are_explained_side_by_side(folder: Path) -> None:
    files = [folder / name for name in ("student.onnx", "student.tflite", "foreign.onnx")]
    done = _run(*files, "--explain", "--rounds", 10, "--sessions", 2, "--json")
    assert done.exit_code == 0, done.output
    student, other, foreign = (file["explained"] for file in json.loads(done.stdout)["files"])
    layers = [one["quantity"].partition(" ")[2] for one in student["records"] if one["quantity"].startswith("layer_ms")]
    assert layers == ["blocks.0.conv", "blocks.1.conv", "blocks.2.conv", "embedding.1", "classifier"]
    assert all(one["value"] > 0 and one["unit"] == "ms" for one in student["records"])
    assert (other["records"], other["reason"]) == ([], "its runtime gives no profile; .onnx files are explained")
    assert [one["quantity"] for one in foreign["records"]]
    shown = _run(files[0], "--explain", "--rounds", 10, "--sessions", 2).output
    assert "Where the time goes" in shown
    assert "blocks.1.conv" in shown
    assert "┃" not in shown, "a table as all others are"
