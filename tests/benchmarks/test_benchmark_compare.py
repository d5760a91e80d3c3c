"""Real small files against each other, through the library and the command."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper
from rich.console import Console
from typer.testing import CliRunner

from benchmarks.bench import Protocol, compare
from benchmarks.contender import AS_GIVEN, EXPORTED_HERE, open_contender
from benchmarks.measure.quality import accuracy
from benchmarks.pages import terminal
from benchmarks.studies.table import markdown
from cli.main import app
from compress.checkpoint import Card, Checkpoint, save
from compress.data import DataOptions, load
from compress.errors import CompressError, DataError, ExportError
from compress.models import Architecture, build
from compress.preprocessing import Preprocessing
from exports import EXPORTERS

QUICK = Protocol(rounds=10, round_ms=1, warmup_ms=5)
CONTENDER_KEYS = {
    "name",
    "made",
    "input",
    "classes",
    "parameters",
    "values",
    "macs",
    "size_bytes",
    "accuracy",
    "latency_ms",
}


def _checkpoint(name: str, classes: tuple[str, ...]) -> Checkpoint:
    architecture = Architecture(name, len(classes), 1, (32, 32))
    return Checkpoint(build(architecture), Card(architecture, Preprocessing((32, 32), 1, (0.3,), (0.3,)), classes))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Student and teacher for the digits, as checkpoints and the student also as .onnx."""
    folder = tmp_path_factory.mktemp("files")
    digits = load("digits", DataOptions()).classes
    student = _checkpoint("cnn-s", digits)
    save(student, folder / "student.safetensors")
    save(_checkpoint("cnn-a", digits), folder / "teacher.safetensors")
    EXPORTERS[".onnx"].export(student, folder / "student.onnx")
    return folder


@pytest.fixture(scope="module")
def document(folder: Path) -> dict[str, Any]:
    return compare(folder / "student.onnx", folder / "teacher.safetensors", data="digits", protocol=QUICK)


def test_document_has_the_keys_of_its_schema(document: dict[str, Any]) -> None:
    assert set(document) == {
        "schema",
        "created",
        "machine",
        "protocol",
        "data",
        "contenders",
        "ratio",
        "warnings",
    }
    assert document["schema"] == "edgepress-benchmark/1"
    assert all(set(contender) == CONTENDER_KEYS for contender in document["contenders"])
    assert set(document["ratio"]) == {"parameters", "values", "macs", "size_bytes", "latency", "top1_points"}
    assert document["protocol"]["threads"] == document["protocol"]["batch"] == 1
    assert json.loads(json.dumps(document, allow_nan=False)) == document


def test_contenders_are_what_was_given(document: dict[str, Any], folder: Path) -> None:
    student, teacher = document["contenders"]
    assert (student["made"], teacher["made"]) == (AS_GIVEN, EXPORTED_HERE)
    assert student["size_bytes"] == (folder / "student.onnx").stat().st_size
    assert student["input"] == [1, 32, 32]
    assert student["classes"] == 10
    for contender in (student, teacher):
        times = contender["latency_ms"]
        assert 0 < times["min"] <= times["p20"] <= times["median"] <= times["p95"]


def test_counts_and_ratios_follow_from_the_networks(document: dict[str, Any]) -> None:
    student, teacher = document["contenders"]
    own = sum(parameter.numel() for parameter in build(Architecture("cnn-s", 10, 1, (32, 32))).model.parameters())
    assert student["parameters"] == own
    for count in ("parameters", "values", "macs", "size_bytes"):
        assert document["ratio"][count] == pytest.approx(teacher[count] / student[count])
        assert document["ratio"][count] > 1
    latency = document["ratio"]["latency"]
    assert latency["low"] <= latency["high"]
    assert latency["value"] == pytest.approx(teacher["latency_ms"]["median"] / student["latency_ms"]["median"])


def test_accuracy_is_that_of_the_file(document: dict[str, Any], folder: Path) -> None:
    card = _checkpoint("cnn-s", load("digits", DataOptions()).classes).card
    images = load("digits", see=card.preprocessing)
    exported = EXPORTERS[".onnx"].read(folder / "student.onnx")
    found = document["contenders"][0]["accuracy"]
    hits = [
        (exported(batch.image).argmax(1) == batch.target).double().sum().item() for batch in images.test.batches(50)
    ]
    assert found["top1"] == pytest.approx(sum(hits) / len(images.test))
    assert found["low"] <= found["top1"] <= found["high"]
    assert found["samples"] == document["data"]["samples"] == len(images.test)
    assert accuracy(exported, images.test).summary == found


def test_without_data_and_without_another(folder: Path) -> None:
    document = compare(folder / "student.onnx", protocol=QUICK)
    assert document["data"] is None
    assert document["ratio"] is None
    assert document["contenders"][0]["accuracy"] is None
    assert "not measured" in _shown(document)


def test_a_file_against_itself_is_no_faster_for_sure(folder: Path) -> None:
    protocol = replace(QUICK, rounds=30)
    document = compare(folder / "student.onnx", folder / "student.onnx", protocol=protocol)
    assert document["ratio"]["size_bytes"] == 1
    assert document["ratio"]["latency"]["value"] == pytest.approx(1, abs=0.5)


def test_retrieval_network_gets_no_top1(folder: Path, tmp_path: Path) -> None:
    model = onnx.load(folder / "student.onnx")
    (entry,) = model.metadata_props
    entry.value = entry.value.replace('"task":"classification"', '"task":"retrieval"')
    onnx.save(model, tmp_path / "retrieval.onnx")
    document = compare(tmp_path / "retrieval.onnx", data="digits", protocol=QUICK)
    assert document["contenders"][0]["accuracy"] is None
    assert any("trained for retrieval" in warning for warning in document["warnings"])


def _foreign(path: Path, shape: list[int | str]) -> Path:
    """A linear classifier that edgepress did not write."""
    weight = helper.make_tensor("w", TensorProto.FLOAT, [10, 64], [0.01 * (i % 7) for i in range(640)])
    nodes = [helper.make_node("Flatten", ["x"], ["f"]), helper.make_node("Gemm", ["f", "w"], ["y"], transB=1)]
    source = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    target = helper.make_tensor_value_info("y", TensorProto.FLOAT, [shape[0], 10])
    graph = helper.make_graph(nodes, "g", [source], [target], [weight])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    return path


@pytest.mark.parametrize("batch", ["n", 1])
def test_foreign_file_is_measured_with_a_warning(tmp_path: Path, batch: int | str) -> None:
    document = compare(_foreign(tmp_path / "other.onnx", [batch, 1, 8, 8]), data="digits", protocol=QUICK)
    (contender,) = document["contenders"]
    assert (contender["parameters"], contender["values"], contender["macs"]) == (None, 640, 640)
    assert contender["accuracy"]["samples"] == document["data"]["samples"]
    assert any("normalised" in warning for warning in document["warnings"])


def test_open_input_size_needs_data(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="pass --data"):
        open_contender(_foreign(tmp_path / "open.onnx", ["n", 1, "h", "w"]), tmp_path)


def test_files_are_checked_before_anything_is_timed(folder: Path, tmp_path: Path) -> None:
    said: list[str] = []
    shutil.copy(folder / "student.onnx", tmp_path / "student.pth")
    missing, odd = tmp_path / "missing.onnx", tmp_path / "student.pth"
    for against, message in ((missing, "does not exist"), (tmp_path, "is a folder"), (odd, r"\.pth cannot be")):
        with pytest.raises(DataError, match=message):
            compare(folder / "student.onnx", against, protocol=QUICK, say=said.append)
    assert said == []


def test_damaged_file(tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"not a model")
    with pytest.raises(ExportError, match=r"broken\.onnx"):
        compare(tmp_path / "broken.onnx", protocol=QUICK)


@pytest.mark.parametrize("classes", [("a", "b", "c"), tuple("jihgfedcba")])
def test_data_with_other_classes(tmp_path: Path, classes: tuple[str, ...]) -> None:
    save(_checkpoint("cnn-s", classes), tmp_path / "other.safetensors")
    with pytest.raises(DataError, match="classes"):
        compare(tmp_path / "other.safetensors", data="digits", protocol=QUICK)


def test_unknown_data(folder: Path) -> None:
    with pytest.raises(CompressError, match="digits"):
        compare(folder / "student.onnx", data="digit", protocol=QUICK)


def _shown(document: terminal.Document, width: int = 200) -> str:
    console = Console(width=width, color_system=None)
    with console.capture() as capture:
        console.print(terminal.render(document))
    return capture.get()


def test_table_says_what_was_measured_and_how(document: dict[str, Any]) -> None:
    text = _shown(document)
    for part in ("student.onnx", "teacher.safetensors", "1 thread", "batch 1", "10 rounds", EXPORTED_HERE, "faster"):
        assert part in text
    assert f"{100 * document['contenders'][0]['accuracy']['top1']:.2f}" in text


def test_table_fits_a_terminal_of_80_columns(document: dict[str, Any]) -> None:
    assert all(part in _shown(document, 80) for part in ("student.onnx", "median ms", "p95 ms", "x faster"))


def test_shipped_table_of_a_page(document: dict[str, Any]) -> None:
    study = {"schema": "edgepress-study/1", "data": "digits", "machine": {}, "rows": [], "shipped": document}
    text = markdown({**study, "teacher": {"name": "cnn-a", "top1": 0.5}})
    assert "The shipped file, ONNX Runtime, CPU, 1 thread, batch 1, 10 rounds:" in text
    assert "| file | params | MACs | size | top-1 % [95 %] | median ms | p95 ms |" in text
    assert "| student.onnx | " in text
    assert text.count("\n| ") == 5


def test_table_says_when_faster_is_unsure(document: dict[str, Any]) -> None:
    latency = {"value": 1.01, "low": 0.9, "high": 1.1, "unsure": True}
    unsure = {**document, "ratio": {**document["ratio"], "latency": latency}, "warnings": ["the load was high"]}
    assert "unsure" in _shown(unsure)
    assert "warning: the load was high" in _shown(unsure)
    sure = {**document, "ratio": {**document["ratio"], "latency": {**latency, "low": 1.005, "unsure": False}}}
    assert "unsure" not in _shown(sure)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "?"),
        (0, "0"),
        (999, "999"),
        (61_578, "61.6 k"),
        (999_999, "1 M"),
        (11_181_642, "11.2 M"),
        (2.5e9, "2.5 G"),
    ],
)
def test_amounts(value: float | None, text: str) -> None:
    assert terminal.amount(value) == text


def _run(*arguments: object) -> Any:
    return CliRunner().invoke(app, ["benchmark", *map(str, arguments)])


def test_command_prints_the_table_and_writes_the_json(folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "bench.json"
    done = _run(folder / "student.onnx", "--data", "digits", "--json", target, "--rounds", 10)
    assert done.exit_code == 0, done.output
    assert "student.onnx" in done.output
    written = json.loads(target.read_text(encoding="utf-8"))
    assert written["protocol"]["rounds"] == 10
    assert written["data"]["name"] == "digits"


def test_command_refuses_a_target_before_it_measures(folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "bench.json"
    target.write_text("kept", encoding="utf-8")
    done = _run(folder / "student.onnx", "--json", target)
    assert done.exit_code == 2
    assert "--force" in done.output
    assert target.read_text(encoding="utf-8") == "kept"


def test_command_says_what_is_missing(tmp_path: Path) -> None:
    done = _run(tmp_path / "missing.onnx")
    assert done.exit_code == 2
    assert "does not exist" in done.output
