"""Real small files against each other, through the library and the command."""

from __future__ import annotations

import json
import re
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
from benchmarks.contender import AS_GIVEN, EXPORTED_HERE, named, open_contender
from benchmarks.measure.quality import agreement, quality
from benchmarks.pages import terminal
from benchmarks.studies.table import markdown, read_study
from cli.main import app
from compress.checkpoint import Card, Checkpoint, save
from compress.data import DataOptions, load
from compress.errors import CompressError, DataError, ExportError
from compress.models import Architecture, build
from compress.preprocessing import Preprocessing
from exports import format_of, noise, ship
from exports.graph.seal import seal

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"
QUICK = Protocol(sessions=2, rounds=10, turn_ms=1, warmup_ms=5)
CONTENDER_KEYS = {
    "name",
    "made",
    "input",
    "classes",
    "parameters",
    "values",
    "macs",
    "size_bytes",
    "task",
    "metric",
    "quality",
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
    ship(student, folder / "student.onnx", [noise(student.card)])
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
    assert document["schema"] == "edgepress-benchmark/3"
    assert all(set(contender) == CONTENDER_KEYS for contender in document["contenders"])
    assert set(document["ratio"]) == {"parameters", "values", "macs", "size_bytes", "latency", "points", "agreement"}
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
        assert 0 < times["min"] <= times["p20"] <= times["p95"]
        assert times["min"] <= times["median"]
        assert times["cpu"] > 0
        assert (times["sessions"], times["rounds"], times["calls"] % 20) == (2, 10, 0)


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


def test_quality_is_that_of_the_file(document: dict[str, Any], folder: Path) -> None:
    card = _checkpoint("cnn-s", load("digits", DataOptions()).classes).card
    images = load("digits", see=card.preprocessing)
    exported = format_of(folder / "student.onnx").read(folder / "student.onnx")
    found = document["contenders"][0]["quality"]
    hits = [
        (exported(card.scale(batch.image)).argmax(1) == batch.target).double().sum().item()
        for batch in images.test.batches(50)
    ]
    assert (found["metric"], found["value"]) == ("top1", pytest.approx(sum(hits) / len(images.test)))
    assert found["low"] <= found["value"] <= found["high"]
    assert found["samples"] == document["data"]["samples"] == len(images.test)
    assert quality(exported, images) == found


def test_without_data_and_without_another(folder: Path) -> None:
    document = compare(folder / "student.onnx", protocol=QUICK)
    assert document["data"] is None
    assert document["ratio"] is None
    assert document["contenders"][0]["quality"] is None
    assert "not measured" in _shown(document)


def test_a_file_against_itself_is_the_same_in_size(folder: Path) -> None:
    ratio = compare(folder / "student.onnx", folder / "student.onnx", protocol=QUICK)["ratio"]
    assert [ratio[count] for count in ("parameters", "values", "macs", "size_bytes")] == [1, 1, 1, 1]
    assert terminal.cells({"contenders": [], "ratio": ratio})[-1][1:4] == ["the same"] * 3


def test_retrieval_network_gets_no_top1(folder: Path, tmp_path: Path) -> None:
    model = onnx.load(folder / "student.onnx")
    entry, _ = model.metadata_props
    entry.value = entry.value.replace('"task":"classification"', '"task":"retrieval"')
    del model.metadata_props[1]
    seal(model)
    onnx.save(model, tmp_path / "retrieval.onnx")
    document = compare(tmp_path / "retrieval.onnx", data="digits", protocol=QUICK)
    assert document["contenders"][0]["quality"] is None
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
    assert contender["quality"]["samples"] == document["data"]["samples"]
    assert any("normalised" in warning for warning in document["warnings"])


def test_open_input_size_needs_data(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="pass --data"):
        open_contender(named(_foreign(tmp_path / "open.onnx", ["n", 1, "h", "w"])), tmp_path)


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
        console.print(terminal.render(document, console))
    return capture.get()


def _decided(document: terminal.Document, **latency: Any) -> terminal.Document:
    """The document with another ratio of latency."""
    changed = {**document["ratio"]["latency"], "verdict": "faster", "words": "faster, 14.9x [14.1, 15.6]", **latency}
    return {**document, "ratio": {**document["ratio"], "latency": changed}}


def test_table_says_what_was_measured_and_how(document: dict[str, Any]) -> None:
    text = _shown(document)
    for part in ("student.onnx", "teacher.safetensors", "1 thread", "batch 1", "2 sessions, 10 rounds", EXPORTED_HERE):
        assert part in text
    assert f"latency: {document['ratio']['latency']['words']}" in text
    assert f"{100 * document['contenders'][0]['quality']['value']:.2f}" in text


@pytest.mark.parametrize("width", [30, 60, 80, 100])
def test_no_column_is_lost_however_narrow_the_terminal(document: dict[str, Any], width: int) -> None:
    text = _shown(_decided(document, value=14.9, low=14.1, high=15.6), width)
    assert max(map(len, text.splitlines())) <= width
    words = " ".join(text.split())
    heads = ("params", "MACs", "size", "top-1 %", "[95 %]", "median ms", "p95 ms")
    for part in (
        *heads,
        "student.onnx",
        "teacher.safetensors" if width != 80 else "teacher",
        "14.9x faster",
        "smaller",
    ):
        assert part in words
    for contender in document["contenders"]:
        assert f"{100 * contender['quality']['value']:.2f}" in text
        assert terminal.amount(contender["size_bytes"], "B") in text


def test_names_are_shown_as_they_are_and_not_obeyed(document: dict[str, Any]) -> None:
    student, teacher = document["contenders"]
    named = {
        **document,
        "contenders": [{**student, "name": "[bold]a.onnx"}, {**teacher, "name": "b\x1b[2J\u202e.onnx"}],
    }
    for width in (50, 200):
        text = _shown({**named, "warnings": ["[red]b\x07.onnx: odd"]}, width)
        assert all(part in text for part in ("[bold]a.onnx", r"b\x1b[2J\u202e.onnx", r"warning: [red]b\x07.onnx: odd"))
        assert not {"\x1b", "\u202e", "\x07"} & set(text)


def test_less_is_said_in_words_that_hold(document: dict[str, Any]) -> None:
    counts = {"parameters": 0.5, "values": 1, "macs": 1, "size_bytes": 0.992}
    worse = {**document, "ratio": {**document["ratio"], **counts}}
    text = " ".join(_shown(_decided(worse, verdict="slower", value=0.5, low=0.4, high=0.625), 40).split())
    for part in ("2x more", "the same", "1.008x larger", "2x slower [1.6, 2.5]"):
        assert part in text
    assert not any(word in text for word in ("fewer", "smaller", "x faster"))


def test_shipped_table_of_a_page(document: dict[str, Any]) -> None:
    study = read_study(RESULTS / "fashion-mnist.json")
    text = markdown({**study, "summary": [], "shipped": document})
    assert "The shipped file, ONNX Runtime, CPU, 1 thread, batch 1, 2 sessions, 10 rounds:" in text
    assert f"\n\nLatency: {document['ratio']['latency']['words']}." in text
    assert "| file | params | MACs | size | top-1 % [95 %] | median ms | p95 ms |" in text
    assert "| student.onnx | " in text
    assert text.count("\n| ") == 5


@pytest.mark.parametrize(
    ("verdict", "cell"),
    [("unsure", "unsure"), ("same", "no difference detected"), ("faster", "14.9x faster [14.1, 15.6]")],
)
def test_table_says_no_more_than_the_verdict(document: dict[str, Any], verdict: str, cell: str) -> None:
    said = _decided(document, verdict=verdict, value=14.9, low=14.1, high=15.6, words="the words")
    assert terminal.cells(said)[-1][5].replace("\n", " ") == cell
    assert "latency: the words" in _shown({**said, "warnings": ["the load was high"]})
    assert "warning: the load was high" in _shown({**said, "warnings": ["the load was high"]})


def test_a_document_of_the_first_schema_is_shown(document: dict[str, Any]) -> None:
    protocol = {key: value for key, value in document["protocol"].items() if key != "sessions"}
    latency = {"value": 65.05, "low": 63.4, "high": 66.7, "unsure": False}
    first = {**document, "schema": "edgepress-benchmark/1", "protocol": protocol}
    first["ratio"] = {**document["ratio"], "latency": latency}
    assert terminal.cells(first)[-1][5] == "65x faster\n[63.4, 66.7]"
    assert "batch 1, 10 rounds in turn" in _shown(first)
    assert (
        terminal.cells({**first, "ratio": {**first["ratio"], "latency": {**latency, "unsure": True}}})[-1][5]
        == "unsure"
    )


def test_a_document_of_the_second_schema_is_shown(document: dict[str, Any]) -> None:
    def second(contender: dict[str, Any]) -> dict[str, Any]:
        found = contender["quality"]
        old = {key: value for key, value in contender.items() if key not in ("task", "metric", "quality")}
        return {**old, "accuracy": {"top1": found["value"], **{key: found[key] for key in ("low", "high", "samples")}}}

    contenders = [second(contender) for contender in document["contenders"]]
    ratio = {key: value for key, value in document["ratio"].items() if key not in ("points", "agreement")}
    old = {**document, "schema": "edgepress-benchmark/2", "contenders": contenders}
    old["ratio"] = {**ratio, "top1_points": document["ratio"]["points"]}
    assert terminal.cells(old) == terminal.cells(document)
    contenders[0]["accuracy"] = None
    assert terminal.cells(old)[1][4] == "not measured"


def test_files_that_decide_alike(document: dict[str, Any], folder: Path) -> None:
    card = _checkpoint("cnn-s", load("digits", DataOptions()).classes).card
    images = load("digits", see=card.preprocessing)
    student = format_of(folder / "student.onnx").read(folder / "student.onnx")
    assert agreement((student, images), (student, images)) == {
        "name": "top1_agreement",
        "words": "top-1 agreement",
        "value": 1.0,
        "samples": len(images.test),
    }
    found = document["ratio"]["agreement"]
    assert 0 <= found["value"] < 1
    assert f"top-1 agreement with teacher.safetensors: {found['value']:.2%} (450 images)" in _shown(document)


def test_more_than_one_thread_is_timed_by_the_wall_alone(folder: Path) -> None:
    document = compare(folder / "student.onnx", folder / "student.onnx", protocol=replace(QUICK, threads=2))
    assert [contender["latency_ms"]["cpu"] for contender in document["contenders"]] == [None, None]
    assert document["ratio"]["latency"]["cpu"] is None
    assert "CPU time" not in document["ratio"]["latency"]["words"]


def test_a_large_file_is_timed_in_fewer_sessions(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.bench.SESSIONS_BYTES", 3 * (folder / "student.onnx").stat().st_size)
    document = compare(folder / "student.onnx", protocol=replace(QUICK, sessions=5))
    assert document["contenders"][0]["latency_ms"]["sessions"] == 3
    assert any("timed in 3 sessions instead of 5" in warning for warning in document["warnings"])


def test_a_file_that_gives_nan_is_refused_by_its_name(folder: Path, tmp_path: Path) -> None:
    model = onnx.load(folder / "student.onnx")
    tensor = next(one for one in model.graph.initializer if one.data_type == TensorProto.FLOAT and len(one.dims) > 1)
    spoilt = onnx.numpy_helper.to_array(tensor).copy()
    spoilt.flat[0] = float("nan")
    tensor.CopyFrom(onnx.numpy_helper.from_array(spoilt, tensor.name))
    del model.metadata_props[:]  # with them it would be refused as altered
    onnx.save(model, tmp_path / "spoilt.onnx")
    done = _run(tmp_path / "spoilt.onnx", "--data", "digits", "--rounds", 10, "--sessions", 2)
    assert done.exit_code == 3
    assert re.search(r"spoilt\.onnx: .* outputs are NaN or infinite", " ".join(done.output.split()))


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
    done = _run(folder / "student.onnx", "--data", "digits", "-o", target, "--rounds", 10)
    assert done.exit_code == 0, done.output
    assert "student.onnx" in done.output
    written = json.loads(target.read_text(encoding="utf-8"))
    assert written["protocol"]["rounds"] == 10
    assert written["data"]["name"] == "digits"


def test_command_refuses_a_target_before_it_measures(folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "bench.json"
    target.write_text("kept", encoding="utf-8")
    done = _run(folder / "student.onnx", "-o", target)
    assert done.exit_code == 2
    assert "--force" in done.output
    assert target.read_text(encoding="utf-8") == "kept"


def test_command_says_what_is_missing(tmp_path: Path) -> None:
    done = _run(tmp_path / "missing.onnx")
    assert done.exit_code == 2
    assert "does not exist" in done.output
