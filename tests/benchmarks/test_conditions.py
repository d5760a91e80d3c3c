"""Other batches, chosen CPUs and calls that begin with pixels, on real small files."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from rich.console import Console
from test_benchmark_compare import QUICK, _checkpoint, _run
from typer.testing import Result

from benchmarks.bench import Comparison, compare
from benchmarks.contender import named, open_contender
from benchmarks.document import digest, number, record
from benchmarks.measure.pinned import pinned
from benchmarks.measure.preprocessed import from_pixels
from benchmarks.pages import terminal
from benchmarks.pages.conditions import NOISY
from benchmarks.protocol import Protocol
from benchmarks.samples import pack
from benchmarks.verify import Finding, verify
from compress.data import DataOptions, load
from compress.errors import DataError, ExportError
from exports import noise, ship
from exports.source import Settings

SIDE, CLASSES = 8, 10
needs_affinity = pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="CPUs cannot be chosen here")


def linear(path: Path, batch: int | str) -> Path:
    """A classifier of the digits that edgepress did not write, and that takes so many at once."""
    chance = np.random.default_rng(0)
    weight = helper.make_tensor("w", TensorProto.FLOAT, [CLASSES, SIDE**2], chance.standard_normal(CLASSES * SIDE**2))
    nodes = [helper.make_node("Flatten", ["x"], ["f"]), helper.make_node("Gemm", ["f", "w"], ["y"], transB=1)]
    source = helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 1, SIDE, SIDE])
    target = helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, CLASSES])
    graph = helper.make_graph(nodes, "g", [source], [target], [weight])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """student.onnx and teacher.onnx for the digits; pixels.onnx is the student that scales by itself."""
    folder = tmp_path_factory.mktemp("conditions")
    classes = load("digits", DataOptions()).classes
    for name, network in (("student", "cnn-s"), ("teacher", "cnn-a")):
        one = _checkpoint(network, classes)
        ship(one, folder / f"{name}.onnx", [noise(one.card)])
    one = _checkpoint("cnn-s", classes)
    ship(one, folder / "pixels.onnx", [noise(one.card, takes="uint8")], settings=Settings(input="uint8"))
    return folder


def findings(found: Comparison) -> list[Finding]:
    """What `verify` says of a benchmark, once it is a file."""
    raw = pack({at: one.raw for at, one in found.measured.items()})
    document = {**found.document, "samples": {"file": "x.npz", "sha256": sha256(raw).hexdigest()}}
    document = json.loads(json.dumps(document, allow_nan=False))
    return verify({**document, "digest": digest(document)}, raw)


def shown(document: dict[str, Any]) -> str:
    """What the terminal says of it."""
    console = Console(width=200, color_system=None)
    with console.capture() as capture:
        console.print(terminal.render(document, console))
    return capture.get()


def test_further_batches_are_measured_beside_the_first(folder: Path) -> None:
    files = [folder / "teacher.onnx", folder / "student.onnx"]
    found = compare(files, baseline=0, protocol=replace(QUICK, batches=(2, 8)))
    assert (found.document["protocol"]["batch"], found.document["protocol"]["batches"]) == (2, [2, 8])
    for file in found.document["files"]:
        for of, images in (("", 2), (" batch 8", 8)):
            latency, many = record(file, f"latency{of}"), record(file, f"throughput{of}")
            assert latency is not None
            assert many is not None
            assert many["value"] == pytest.approx(1000 * images / latency["value"])
            assert (many["low"], many["high"]) == pytest.approx(
                (1000 * images / latency["high"], 1000 * images / latency["low"])
            )
    teacher, student = found.document["files"]
    assert "verdicts" not in teacher
    assert list(student["verdicts"]) == ["8"]
    eighth = number(teacher, "latency batch 8") / number(student, "latency batch 8")  # type: ignore[operator]
    assert number(student, "speedup batch 8") == pytest.approx(eighth)
    said = findings(found)
    assert not [one for one in said if one.found == "FAILED"]
    assert any("verdict on batch 8" in one.sentence for one in said)
    text = shown(found.document)
    assert "Calls of several images." in text
    verdict = student["verdicts"]["8"]
    assert (NOISY if verdict["kind"] == "noisy" else verdict["words"][:30]) in text


def test_an_altered_number_of_a_batch_is_noticed(folder: Path) -> None:
    files = [folder / "teacher.onnx", folder / "student.onnx"]
    found = compare(files, baseline=0, protocol=replace(QUICK, batches=(1, 4)))
    student = found.document["files"][1]
    record(student, "throughput batch 4")["value"] += 1.0  # type: ignore[index]
    student["verdicts"]["4"]["words"] = "faster, 900x [800, 1,000]"
    student["records"].append({**record(student, "latency"), "quantity": "latency batch 64"})  # type: ignore[dict-item]
    found.document["noise"]["records"][0]["high"] += 1e-6
    wrong = " ".join(one.sentence for one in findings(found) if one.found == "FAILED")
    for part in (
        "throughput batch 4: value is",
        "verdict on batch 4: says",
        "latency batch 64 does not",
        "aa_ratio: high",
    ):
        assert part in wrong


def test_a_batch_that_a_file_does_not_take_is_a_reason(tmp_path: Path) -> None:
    fixed, free = linear(tmp_path / "fixed.onnx", 1), linear(tmp_path / "free.onnx", "n")
    found = compare([free, fixed], baseline=0, protocol=replace(QUICK, batches=(1, 4))).document
    lost = record(found["files"][1], "latency batch 4")
    assert lost is not None
    assert (lost["value"], lost["reason"]) == (None, "takes 1 image at once")
    assert "fixed.onnx: latency batch 4: not measured: takes 1 image at once" in shown(found)
    asked = replace(QUICK, batches=(4,))
    row = compare([free, fixed], baseline=0, protocol=asked).document["files"][1]
    assert (row["records"], row["reason"]) == ([], "takes 1 image at once, asked: 4; give --batch 1")
    with pytest.raises(ExportError, match=r"fixed\.onnx: takes 1 image at once, asked: 4; give --batch 1"):
        compare([fixed], protocol=asked)


def test_a_file_of_a_fixed_batch_knows_what_the_same_without_knows(tmp_path: Path) -> None:
    files = [linear(tmp_path / "free.onnx", "n"), linear(tmp_path / "fixed.onnx", 4)]
    found = compare(files, baseline=0, data="digits", protocol=replace(QUICK, batches=(4,))).document
    free, fixed = found["files"]
    assert found["data"]["samples"] % 4
    assert fixed["reason"] == ""
    assert (number(fixed, "top1_agreement"), number(fixed, "top1")) == (1.0, number(free, "top1"))


@pytest.mark.parametrize("name", ["student.onnx", "pixels.onnx"])
def test_a_call_from_pixels_answers_as_the_file_does(folder: Path, tmp_path: Path, name: str) -> None:
    one = open_contender(named(folder / name), tmp_path, data="digits")
    pixels = np.concatenate([one.pixels, 255 - one.pixels])
    call = from_pixels(one.exported, pixels, one.scale)
    call()
    bound = next(cell.cell_contents for cell in call.__closure__ if hasattr(cell.cell_contents, "target"))  # type: ignore[attr-defined]
    expected = one.exported.answer(pixels if one.scale is None else one.scale.array(pixels))
    np.testing.assert_allclose(bound.target.numpy(), expected, rtol=1e-4, atol=1e-5)


def test_preprocessing_is_timed_beside_the_network_alone(folder: Path) -> None:
    plain = compare([folder / "student.onnx"], protocol=QUICK)
    assert plain.document["protocol"]["preprocessing"] == "outside"
    assert record(plain.document["files"][0], "latency_with_preprocessing") is None
    assert "latency is of the network alone" in shown(plain.document)
    found = compare([folder / "student.onnx"], protocol=replace(QUICK, preprocessing=True))
    assert found.document["protocol"]["preprocessing"] == "outside and inside"
    both = record(found.document["files"][0], "latency_with_preprocessing")
    assert both is not None
    assert both["low"] <= both["value"] <= both["high"]
    assert any("preprocessing: latency_with_preprocessing" in one.sentence for one in findings(found))
    assert "From pixels" not in shown(plain.document)
    assert "From pixels" in shown(found.document)


@needs_affinity
def test_all_is_timed_on_the_chosen_cpus_and_none_is_left_chosen(folder: Path) -> None:
    before = os.sched_getaffinity(0)
    one = min(before)
    with pinned([one]):
        assert os.sched_getaffinity(0) == {one}
    assert os.sched_getaffinity(0) == before
    said: list[set[int]] = []
    found = compare(
        [folder / "student.onnx"],
        protocol=replace(QUICK, pin=(one,), threads=2),
        say=lambda text: said.append(os.sched_getaffinity(0)) if text == "timing" else None,
    )
    assert said == [{one}]
    assert os.sched_getaffinity(0) == before
    assert f"2 threads, on CPU {one}, batch 1" in shown(found.document)
    assert "2 threads shared the one CPU that they were pinned to" in found.document["warnings"]


def test_more_threads_than_cpus_are_refused_before_anything_is_done(folder: Path) -> None:
    said: list[str] = []
    with pytest.raises(DataError, match=r"threads: 4096, but this process may use \d+ CPUs?; give no more"):
        compare([folder / "student.onnx"], protocol=replace(QUICK, threads=4096), say=said.append)
    assert said == []


@needs_affinity
def test_a_cpu_that_is_not_usable_is_refused_before_anything_is_done(folder: Path) -> None:
    said: list[str] = []
    with pytest.raises(DataError, match=r"pin: CPU 4095 is not usable here; usable are \d"):
        compare([folder / "student.onnx"], protocol=replace(QUICK, pin=(4095,)), say=said.append)
    assert said == []


def test_a_system_without_a_choice_of_cpus_says_so(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_setaffinity", raising=False)
    with pytest.raises(DataError, match="this system lets no process choose its CPUs; leave --pin out"):
        compare([folder / "student.onnx"], protocol=replace(QUICK, pin=(0,)))


@pytest.mark.parametrize("batches", [(), (0,), (4, 4)])
def test_batches_that_are_none_are_refused(batches: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match="each once"):
        Protocol(batches=batches)


def quick(*words: object) -> Result:
    """A benchmark through the command."""
    result: Result = _run(*words, "--sessions", 2, "--rounds", 10)
    return result


def test_the_command_takes_lists_and_repetitions(folder: Path, tmp_path: Path) -> None:
    words = ("--batch", "1,2", "--batch", 4, "--warm-up", "5ms", "-o", tmp_path / "b.json")
    done = quick(folder / "student.onnx", *words)
    assert done.exit_code == 0, done.output
    protocol = json.loads((tmp_path / "b.json").read_text("utf-8"))["protocol"]
    assert (protocol["batches"], protocol["warmup_ms"]) == ([1, 2, 4], 5)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--batch", "1,x"), "--batch: got 'x'; give whole numbers of at least 1, such as 1,8"),
        (("--batch", "0"), "--batch: got '0'"),
        (("--pin", "-1"), "--pin: got '-1'; give whole numbers of at least 0, such as 0,1"),
        (("--warm-up", "50"), "give a number above 0 and its unit, such as 30ms or 2s"),
        (("--fps", "30"), "error: --fps: 30 frames a second, but for how long? say --minutes as well"),
        (("--pin", "4095"), "error: --pin: "),
        (("--max-drop", "1"), "error: --max-drop: is about a file and what it is held against"),
        (("--against-arch", "resnet18"), "error: --against-arch: there is no --against"),
        (("--minutes", "0"), "give a number above 0"),
    ],
)
def test_the_command_says_what_it_takes(folder: Path, words: tuple[str, ...], said: str) -> None:
    done = quick(folder / "student.onnx", *words)
    assert done.exit_code == 2
    assert said in " ".join(done.output.split())
