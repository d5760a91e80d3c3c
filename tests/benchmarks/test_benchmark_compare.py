"""Real small files against each other, through the library and the command."""

from __future__ import annotations

import copy
import json
import re
import shutil
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from onnx import TensorProto, helper
from rich.console import Console
from typer.testing import CliRunner

from benchmarks.bench import compare
from benchmarks.claims import check
from benchmarks.contender import AS_GIVEN, EXPORTED_HERE, named, open_contender
from benchmarks.derive import derive
from benchmarks.document import Document, number, record
from benchmarks.pages import terminal
from benchmarks.pages.words import amount
from benchmarks.protocol import Protocol
from benchmarks.samples import pack, read_samples
from cli.main import app
from compress.calibration import calibration_error
from compress.checkpoint import Card, Checkpoint, save
from compress.data import DataOptions, load
from compress.errors import CompressError, DataError, ExportError
from compress.evidence import Record
from compress.intervals import mcnemar
from compress.models import Architecture, build
from compress.preprocessing import Preprocessing
from compress.tasks import RETRIEVAL
from exports import Settings, format_of, noise, ship
from exports.answers import as_network
from exports.graph.seal import seal

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"
QUICK = Protocol(sessions=2, rounds=10, turn_ms=1, warmup_ms=5)
FILE_KEYS = {
    "name",
    "sha256",
    "given_sha256",
    "network",
    "made",
    "lineage",
    "input",
    "classes",
    "task",
    "metric",
    "records",
    "hurt",
    "verdict",
    "reason",
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
    teacher = _checkpoint("cnn-a", digits)
    ship(teacher, folder / "teacher.onnx", [noise(teacher.card)])
    return folder


@pytest.fixture(scope="module")
def document(folder: Path) -> dict[str, Any]:
    files = [folder / "student.onnx", folder / "teacher.safetensors"]
    return compare(files, baseline=1, data="digits", protocol=QUICK).document


def test_document_has_the_keys_of_its_schema(document: dict[str, Any]) -> None:
    parts = "schema created command machine protocol data seen baseline files noise claims samples warnings"
    assert list(document) == parts.split()
    assert document["schema"] == "edgepress-benchmark/5"
    assert all(set(file) == FILE_KEYS for file in document["files"])
    assert all(Record.from_dict(one) for file in document["files"] for one in file["records"])
    assert document["protocol"]["threads"] == document["protocol"]["batch"] == 1
    assert json.loads(json.dumps(document, allow_nan=False)) == document


def test_files_are_what_was_given(document: dict[str, Any], folder: Path) -> None:
    student, teacher = document["files"]
    assert (student["made"], teacher["made"]) == (AS_GIVEN, EXPORTED_HERE)
    content = (folder / "student.onnx").read_bytes()
    assert (number(student, "size"), student["sha256"]) == (len(content), sha256(content).hexdigest())
    assert {one["sha256"] for one in student["records"]} == {student["sha256"]}
    assert student["input"] == [1, 32, 32]
    assert student["classes"] == 10
    for file in document["files"]:
        least, p20, p95, p99 = (number(file, f"latency_{end}") or 0.0 for end in ("min", "p20", "p95", "p99"))
        assert 0 < least <= p20 <= p95 <= p99
        latency = record(file, "latency")
        assert latency is not None
        assert latency["low"] <= latency["value"] <= latency["high"]
        assert latency["n"] == 2


def test_counts_and_ratios_follow_from_the_networks(document: dict[str, Any]) -> None:
    student, teacher = document["files"]
    own = sum(parameter.numel() for parameter in build(Architecture("cnn-s", 10, 1, (32, 32))).model.parameters())
    assert number(student, "parameters") == own
    for count in ("parameters", "values", "macs", "size"):
        assert number(teacher, count) > number(student, count)
    speedup = record(student, "speedup")
    assert speedup["low"] <= speedup["value"] <= speedup["high"]
    assert speedup["value"] == pytest.approx(number(teacher, "latency") / number(student, "latency"))
    assert record(teacher, "speedup") is None


def test_quality_is_that_of_the_file(document: dict[str, Any], folder: Path) -> None:
    card = _checkpoint("cnn-s", load("digits", DataOptions()).classes).card
    images = load("digits", see=card.preprocessing)
    right = {}
    for name in ("student", "teacher"):
        path = folder / f"{name}.onnx"
        exported = format_of(path).read(path)
        right[name] = torch.cat(
            [exported(card.scale(batch.image)).argmax(1) == batch.target for batch in images.test.batches(50)]
        )
    student, teacher = document["files"]
    found = record(student, "top1")
    assert found["value"] == pytest.approx(float(right["student"].double().mean()))
    assert found["low"] <= found["value"] <= found["high"]
    assert found["n"] == document["data"]["samples"] == len(images.test)
    lost = int((right["teacher"] & ~right["student"]).sum())
    won = int((right["student"] & ~right["teacher"]).sum())
    assert (number(student, "images_lost"), number(student, "images_won")) == (lost, won)
    assert number(student, "mcnemar_p") == mcnemar(lost, won)
    drop = record(student, "drop")
    assert drop["value"] == pytest.approx(100 * (number(teacher, "top1") - found["value"]))
    assert drop["low"] < drop["value"] < drop["high"]


def test_confidence_is_measured_and_classes_are_judged_each_by_itself(document: dict[str, Any], folder: Path) -> None:
    card = _checkpoint("cnn-s", load("digits", DataOptions()).classes).card
    images = load("digits", see=card.preprocessing)
    outputs, labels = {}, torch.cat([batch.target for batch in images.test.batches(50)])
    for name in ("student", "teacher"):
        exported = format_of(folder / f"{name}.onnx").read(folder / f"{name}.onnx")
        outputs[name] = torch.cat([exported(card.scale(batch.image)) for batch in images.test.batches(50)])
    right = {name: (one.argmax(1) == labels) for name, one in outputs.items()}
    student, teacher = document["files"]
    sure = outputs["student"].double().softmax(1).amax(1)
    error = record(student, "calibration_error")
    assert error["value"] == pytest.approx(calibration_error(sure.numpy(), right["student"].numpy())[0], abs=2e-5)
    assert (error["seed"], error["n"]) == (0, 450)
    assert 0 <= error["low"] <= error["value"] <= error["high"] <= 1
    hurt = []
    for at, name in enumerate(images.classes):
        own = labels == at
        score, drop = record(student, f"top1 {name}"), record(student, f"drop {name}")
        assert score["value"] == pytest.approx(float(right["student"][own].double().mean()))
        assert score["low"] <= score["value"] <= score["high"]
        assert drop["value"] == pytest.approx(100 * (record(teacher, f"top1 {name}")["value"] - score["value"]))
        assert drop["n"] == score["n"] == int(own.sum())
        hurt += [(-drop["value"], name)] if drop["low"] > 0 else []
    assert student["hurt"]["classes"] == [name for _, name in sorted(hurt)]
    assert student["hurt"]["lost"] == (right["teacher"] & ~right["student"]).nonzero().flatten().tolist()
    assert student["hurt"]["won"] == (right["student"] & ~right["teacher"]).nonzero().flatten().tolist()
    assert teacher["hurt"] is None


def test_who_is_hurt_is_said_in_the_terminal(document: dict[str, Any]) -> None:
    said = copy.deepcopy(document)
    student = said["files"][0]
    for name, lost in (("3", 12.0), ("7", 9.0), ("1", 8.0), ("2", 7.0)):
        record(student, f"drop {name}").update(value=lost, low=lost - 1, high=lost + 1)
    student["hurt"]["classes"] = ["3", "7", "1", "2"]
    lost, won = (number(student, f"images_{end}") for end in ("lost", "won"))
    text = " ".join(_shown(said).split())
    assert f"student.onnx: {lost} images lost, {won} won; hurts 3: drop +12.00 points [+11.00, +13.00], 7: " in text
    assert ", and 1 more; calibration error" in text
    assert "teacher.safetensors: calibration error" in text
    student["hurt"]["classes"] = []
    assert "no class lost more than chance explains" in " ".join(_shown(said).split())


def test_without_data_and_without_another(folder: Path) -> None:
    document = compare([folder / "student.onnx"], protocol=QUICK).document
    assert document["data"] is None
    assert document["baseline"] is None
    assert record(document["files"][0], "top1") is None
    assert record(document["files"][0], "speedup") is None
    assert "not measured" in _shown(document)


def test_a_file_against_itself_is_the_same_in_size(folder: Path) -> None:
    document = compare([folder / "student.onnx"] * 2, baseline=1, protocol=QUICK).document
    assert terminal.cells(document)[-1][1:4] == ["the same"] * 3


def _retrieving(source: Path, target: Path) -> Path:
    """The file as one that was trained to retrieve: its outputs are features."""
    model = onnx.load(source)
    entry, _ = model.metadata_props
    entry.value = entry.value.replace('"task":"classification"', '"task":"retrieval"')
    del model.metadata_props[1]
    seal(model)
    onnx.save(model, target)
    return target


def test_files_that_retrieve_are_judged_by_their_own_metrics(folder: Path, tmp_path: Path) -> None:
    files = [_retrieving(folder / f"{name}.onnx", tmp_path / f"{name}.onnx") for name in ("student", "teacher")]
    found = compare(files, baseline=1, data="digits", protocol=QUICK)
    student, teacher = found.document["files"]
    assert student["metric"] == "map_e_exact"
    assert record(student, "top1") is None
    card = _checkpoint("cnn-s", load("digits", DataOptions()).classes).card
    images = load("digits", see=card.preprocessing)
    network = as_network(format_of(files[0]).read(files[0]), images.scale)
    for name, value in RETRIEVAL.evaluate(network, images).items():
        mean = record(student, name)
        assert mean["value"] == pytest.approx(value, abs=1e-5)
        assert 0 <= mean["low"] < mean["value"] < mean["high"] <= 1
    drop = record(student, "drop")
    lost = 100 * (number(teacher, "map_e_exact") - number(student, "map_e_exact"))
    assert drop["value"] == pytest.approx(lost)
    assert drop["low"] < drop["value"] < drop["high"]
    alone = record(student, "map_e_exact")
    assert drop["high"] - drop["low"] < 200 * (alone["high"] - alone["low"])  # the queries are the same ones
    assert [one.held for one in check(found.document, {"max-drop": drop["high"] + 0.01})] == ["met"]
    assert [one.held for one in check(found.document, {"max-drop": drop["low"] - 0.01})] == ["broken"]
    assert "mAP %" in _shown(found.document)
    samples = read_samples(pack({at: one.raw for at, one in found.measured.items()}), "samples")
    assert (
        derive(samples[0], samples[1], images.classes).records
        == derive(found.measured[0].raw, found.measured[1].raw, images.classes).records
    )


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
    foreign = _foreign(tmp_path / "other.onnx", [batch, 1, 8, 8])
    document = compare([foreign], data="digits", protocol=QUICK).document
    (file,) = document["files"]
    assert [number(file, count) for count in ("parameters", "values", "macs")] == [None, 640, 640]
    assert record(file, "top1")["n"] == document["data"]["samples"]
    assert any("normalised" in warning for warning in document["warnings"])


def test_a_file_that_ends_in_a_softmax_is_as_sure_as_one_of_logits(tmp_path: Path) -> None:
    logits = _foreign(tmp_path / "logits.onnx", ["n", 1, 8, 8])
    model = onnx.load(logits)
    model.graph.node[-1].output[0] = "z"
    model.graph.node.append(helper.make_node("Softmax", ["z"], ["y"], axis=1))
    onnx.save(model, tmp_path / "shares.onnx")
    document = compare([logits, tmp_path / "shares.onnx"], baseline=0, data="digits", protocol=QUICK).document
    first, second = (record(file, "calibration_error") for file in document["files"])
    assert second["value"] == pytest.approx(first["value"], abs=2e-5)


def test_open_input_size_needs_data(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="pass --data"):
        open_contender(named(_foreign(tmp_path / "open.onnx", ["n", 1, "h", "w"])), tmp_path)


def test_files_are_checked_before_anything_is_timed(folder: Path, tmp_path: Path) -> None:
    said: list[str] = []
    shutil.copy(folder / "student.onnx", tmp_path / "student.pth")
    missing, odd = tmp_path / "missing.onnx", tmp_path / "student.pth"
    for against, message in ((missing, "does not exist"), (tmp_path, "is a folder"), (odd, r"\.pth cannot be")):
        with pytest.raises(CompressError, match=message):
            compare([folder / "student.onnx", against], baseline=1, protocol=QUICK, say=said.append)
    assert said == []


def test_damaged_file(tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"not a model")
    with pytest.raises(ExportError, match=r"broken\.onnx"):
        compare([tmp_path / "broken.onnx"], protocol=QUICK)


@pytest.mark.parametrize("classes", [("a", "b", "c"), tuple("jihgfedcba")])
def test_data_with_other_classes(tmp_path: Path, classes: tuple[str, ...]) -> None:
    save(_checkpoint("cnn-s", classes), tmp_path / "other.safetensors")
    with pytest.raises(DataError, match="classes"):
        compare([tmp_path / "other.safetensors"], data="digits", protocol=QUICK)


def test_unknown_data(folder: Path) -> None:
    with pytest.raises(CompressError, match="digits"):
        compare([folder / "student.onnx"], data="digit", protocol=QUICK)


def _shown(document: Document, width: int = 200) -> str:
    console = Console(width=width, color_system=None)
    with console.capture() as capture:
        console.print(terminal.render(document, console))
    return capture.get()


def _changed(document: Document, **changes: Any) -> Document:
    """The document with another verdict, and other records of the first file."""
    student, *others = copy.deepcopy(document["files"])
    student["verdict"] = {"kind": changes.pop("kind", "faster"), "words": changes.pop("words", "the words")}
    for quantity, numbers in changes.items():
        record(student, quantity).update(dict(zip(("value", "low", "high"), numbers, strict=False)))  # type: ignore[union-attr,arg-type]
    return {**document, "files": [student, *others]}


def test_table_says_what_was_measured_and_how(document: dict[str, Any]) -> None:
    text = _shown(document)
    for part in ("student.onnx", "teacher.safetensors", "1 thread", "batch 1", "2 sessions, 10 rounds", EXPORTED_HERE):
        assert part in text
    assert f"latency: {document['files'][0]['verdict']['words']}" in text
    assert f"{100 * number(document['files'][0], 'top1'):.2f}" in text


@pytest.mark.parametrize("width", [30, 60, 80, 100])
def test_no_column_is_lost_however_narrow_the_terminal(document: dict[str, Any], width: int) -> None:
    text = _shown(_changed(document, speedup=(14.9, 14.1, 15.6)), width)
    assert max(map(len, text.splitlines())) <= width
    words = " ".join(text.split())
    heads = ("params", "MACs", "size", "top-1 %", "[95 %]", "median ms", "p95 ms")
    for part in (
        *heads,
        "student.onnx",
        "teacher.safetensors",
        "14.9x faster",
        "smaller",
    ):
        assert part in words
    for file in document["files"]:
        assert f"{100 * number(file, 'top1'):.2f}" in text
        assert amount(number(file, "size"), "B") in text


def test_names_are_shown_as_they_are_and_not_obeyed(document: dict[str, Any]) -> None:
    student, teacher = document["files"]
    named = {
        **document,
        "files": [{**student, "name": "[bold]a.onnx"}, {**teacher, "name": "b\x1b[2J\u202e.onnx"}],
    }
    for width in (50, 200):
        text = _shown({**named, "warnings": ["[red]b\x07.onnx: odd"]}, width)
        assert all(part in text for part in ("[bold]a.onnx", r"b\x1b[2J\u202e.onnx", r"warning: [red]b\x07.onnx: odd"))
        assert not {"\x1b", "\u202e", "\x07"} & set(text)


def test_less_is_said_in_words_that_hold(document: dict[str, Any]) -> None:
    its = {count: number(document["files"][1], count) or 0.0 for count in ("parameters", "macs", "size")}
    counts = {"parameters": (2 * its["parameters"],), "macs": (its["macs"],), "size": (1.008 * its["size"],)}
    worse = _changed(document, kind="slower", speedup=(0.5, 0.4, 0.625), **counts)
    text = " ".join(" ".join(terminal.cells(worse)[-1]).split())
    for part in ("2x more", "the same", "1.008x larger", "2x slower [1.6, 2.5]"):
        assert part in text
    assert not any(word in text for word in ("fewer", "smaller", "x faster"))


@pytest.mark.parametrize(
    ("verdict", "cell"),
    [("unsure", "unsure"), ("same", "no difference detected"), ("faster", "14.9x faster [14.1, 15.6]")],
)
def test_table_says_no_more_than_the_verdict(document: dict[str, Any], verdict: str, cell: str) -> None:
    said = _changed(document, kind=verdict, speedup=(14.9, 14.1, 15.6))
    assert terminal.cells(said)[-1][5].replace("\n", " ") == cell
    assert "latency: the words" in _shown({**said, "warnings": ["the load was high"]})
    assert "warning: the load was high" in _shown({**said, "warnings": ["the load was high"]})


def test_files_that_decide_alike(document: dict[str, Any]) -> None:
    found = number(document["files"][0], "top1_agreement")
    assert 0 <= found < 1
    assert f"top-1 agreement with teacher.safetensors: {found:.2%} (450 images)" in _shown(document)


def test_more_than_one_thread_is_timed_by_the_wall_alone(folder: Path) -> None:
    files = [folder / "student.onnx"] * 2
    document = compare(files, baseline=1, protocol=replace(QUICK, threads=2)).document
    for quantity in ("latency_cpu", "speedup_cpu"):
        assert [record(file, quantity) for file in document["files"]] == [None, None]
    assert "CPU time" not in document["files"][0]["verdict"]["words"]


def test_a_large_file_is_timed_in_fewer_sessions(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.timing.SESSIONS_BYTES", 3 * (folder / "student.onnx").stat().st_size)
    document = compare([folder / "student.onnx"], protocol=replace(QUICK, sessions=5)).document
    assert record(document["files"][0], "latency")["n"] == 3
    assert any("timed in 3 sessions instead of 5" in warning for warning in document["warnings"])


def test_many_files_against_the_first(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"not a model")
    (tmp_path / "notes.txt").write_text("no model", encoding="utf-8")
    files = [folder / "teacher.onnx", folder / "student.onnx", tmp_path / "broken.onnx", tmp_path / "notes.txt"]
    found = compare(files, baseline=0, protocol=QUICK)
    assert sorted(found.measured) == [0, 1]
    teacher, student, broken, _ = found.document["files"]
    assert (teacher["verdict"], broken["verdict"], broken["records"]) == (None, None, [])
    assert broken["reason"].startswith("is not an ONNX model")
    assert student["verdict"]["kind"] in ("faster", "slower", "same", "unsure", "noisy")
    text = _shown(found.document)
    assert re.findall(r"^ (\S+\.onnx) ", text, re.MULTILINE) == ["teacher.onnx", "student.onnx", "broken.onnx"]
    assert re.search(r"^ broken\.onnx .*not measured", text, re.MULTILINE)
    assert "broken.onnx: not measured: is not an ONNX model" in text
    assert "notes.txt: not measured: .txt cannot be benchmarked; known are" in text
    with pytest.raises(ExportError, match=r"broken\.onnx.*held against it: name another with --against"):
        compare(files, baseline=2, protocol=QUICK)


def _of_half_floats(path: Path) -> Path:
    """A foreign file that takes float16, as no images are given."""
    kind = TensorProto.FLOAT16
    graph = helper.make_graph(
        [helper.make_node("Flatten", ["x"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", kind, ["n", 1, 8, 8])],
        [helper.make_tensor_value_info("y", kind, ["n", 64])],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    return path


@pytest.mark.parametrize("data", [None, "digits"])
def test_files_that_cannot_be_asked_are_rows_with_their_reasons(tmp_path: Path, data: str | None) -> None:
    plain, half = _foreign(tmp_path / "plain.onnx", ["n", 1, 8, 8]), _of_half_floats(tmp_path / "half.onnx")
    odd = _foreign(tmp_path / "open.onnx", ["n", 1, "h", "w"]) if data is None else _seven(tmp_path / "seven.onnx")
    files = compare([plain, half, odd], baseline=0, data=data, protocol=QUICK).document["files"]
    said = "pass --data to run it on real images" if data is None else "tells 7 classes apart; digits has 10"
    assert files[0]["reason"] == ""
    assert "takes float16 of shape" in files[1]["reason"]
    assert said in files[2]["reason"]


def _seven(path: Path) -> Path:
    other = _checkpoint("cnn-s", tuple("abcdefg"))
    bare = replace(other, card=replace(other.card, lineage=()))
    ship(bare, path, [noise(bare.card)], settings=Settings(label=False))
    return path


def test_a_file_of_other_classes_than_the_data_is_a_row_with_its_reason(folder: Path, tmp_path: Path) -> None:
    other = _checkpoint("cnn-s", tuple("abcdefghij"))
    ship(other, tmp_path / "other.onnx", [noise(other.card)])
    files = [folder / "student.onnx", tmp_path / "other.onnx"]
    document = compare(files, baseline=0, data="digits", protocol=QUICK).document
    assert document["files"][1]["reason"] == (
        "data set 'digits' has other classes than the network: '0' stands where it learnt 'a'"
    )
    with pytest.raises(DataError, match="other classes"):
        compare(files, baseline=1, data="digits", protocol=QUICK)


def test_files_of_one_name_are_told_apart_by_their_folders(folder: Path, tmp_path: Path) -> None:
    twin = tmp_path / "student.onnx"
    twin.write_bytes((folder / "student.onnx").read_bytes())
    files = [folder / "teacher.onnx", folder / "student.onnx", twin]
    document = compare(files, baseline=0, protocol=QUICK).document
    ends = [f"{one.parent.name}/student.onnx" for one in files[1:]]
    assert re.findall(r"^ (\S+\.onnx) ", _shown(document), re.MULTILINE) == ["teacher.onnx", *ends]


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
    assert amount(value) == text


def _run(*arguments: object) -> Any:
    return CliRunner().invoke(app, ["benchmark", *map(str, arguments)])


def test_command_prints_the_table_and_writes_the_json(folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "bench.json"
    done = _run(folder / "student.onnx", "--data", "digits", "-o", target, "--rounds", 10, "--sessions", 2)
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
