"""Other quantizers beside ours, small: every one of them that is installed, and one document of the study."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.protocol import Protocol
from benchmarks.studies import bare
from benchmarks.studies.peers import difference, markdown, study
from benchmarks.studies.quantizers import LITERT, ONNX, QUANTIZERS, Quantizer, Source, made_by
from compress.checkpoint import Checkpoint, save
from compress.data import Dataset
from compress.errors import DataError
from compress.quantization import SCHEMES
from exports import Settings, format_of, ship
from exports.answers import FileNetwork
from exports.source import calibration

ABSENT = Quantizer("absent", ("no_such_module",), ONNX, "not at all", "w8.onnx", lambda _source, _path: None)


@pytest.fixture(scope="module")
def source(teacher: Checkpoint, digits: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Source:
    """The float files of the teacher, and 64 images."""
    folder, images = tmp_path_factory.mktemp("float"), calibration(teacher.card, digits.train, 64)
    files = {suffix: folder / f"fp32{suffix}" for suffix in (ONNX, LITERT)}
    for path in files.values():
        ship(teacher, path, images, settings=Settings(label=False))
    return Source(files, images)


@pytest.mark.parametrize("name", QUANTIZERS)
def test_a_quantizer_gives_a_small_file_that_answers_the_same_without_its_metadata(
    name: str, source: Source, teacher: Checkpoint, tmp_path: Path
) -> None:
    peer = QUANTIZERS[name]
    if peer.missing:
        pytest.skip(peer.missing)
    path = tmp_path / f"small{peer.suffix}"
    assert made_by(peer, source, path) == ""
    bare.strip(path, tmp_path / f"bare{peer.suffix}")
    read = format_of(path).read
    images = source.images[0]
    whole, less = (FileNetwork(read(one))(images) for one in (path, tmp_path / f"bare{peer.suffix}"))
    assert torch.equal(whole, less)
    with torch.no_grad():
        expected = teacher.network.model(images)
    assert not torch.equal(whole, expected)
    assert (whole.argmax(1) == expected.argmax(1)).double().mean() > 0.9
    assert bare.size_bytes(tmp_path / f"bare{peer.suffix}") < bare.size_bytes(path)


def test_what_is_missing_or_fails_is_a_row_with_its_reason(teacher_path: Path) -> None:
    def fail(_source: Source, _path: Path) -> None:
        raise RuntimeError("no such luck\nat all")

    failing = Quantizer("onnxruntime", ("onnxruntime",), ONNX, "never", "w8.onnx", fail)
    names = ("onnxruntime static, min-max", "onnxruntime dynamic")
    peers = {**{name: QUANTIZERS[name] for name in names}, "absent": ABSENT, "failing": failing}
    protocol = Protocol(sessions=2, rounds=2, turn_ms=1, warmup_ms=1)
    found = study(teacher_path, "digits", ours={"w8": SCHEMES["w8"]}, peers=peers, protocol=protocol)
    rows = {row["name"]: row for row in found["rows"]}
    assert rows["absent"]["reason"] == "not installed: pip install no_such_module"
    assert rows["failing"]["reason"] == "RuntimeError: no such luck"
    made = [row for row in found["rows"] if not row["reason"]]
    assert [row["name"] for row in made if row["name"] != row["ours"]] == [*names]
    assert all(_sound(row, found["images"]) for row in made)
    assert rows["fp32.onnx"]["to_float"]["value"] == 0
    assert rows["fp32.onnx"]["ratio"]["value"] == 1
    assert rows["fp32.onnx"]["agreement"] == 1
    assert rows["fp32.onnx"]["error"] < 1e-5 < rows["w8.onnx"]["error"] < rows["onnxruntime dynamic"]["error"] < 1
    assert rows["w8.onnx"]["bare_bytes"] < rows["fp32.onnx"]["bare_bytes"] / 2
    held = rows["onnxruntime dynamic"]
    assert held["to_ours"]["value"] == pytest.approx(held["top1"]["value"] - rows["w8.onnx"]["top1"]["value"])
    page = markdown(found)
    assert all(f"| {name} | onnxruntime " in page for name in names)
    assert "- failing: RuntimeError: no such luck" in page


def _sound(row: dict[str, Any], images: int) -> bool:
    top = row["top1"]
    whole = top["value"] * images
    return top["low"] < top["value"] < top["high"] and whole == pytest.approx(round(whole)) and row["median_ms"] > 0


def test_the_interval_of_a_difference_is_that_of_pairs() -> None:
    before = torch.tensor([True] * 90 + [False] * 10)
    after = torch.tensor([True] * 80 + [False] * 14 + [True] * 6)
    found = difference(before, after)
    pairs = after.double() - before.double()
    half = 1.96 * float(pairs.std(correction=0)) / 10
    assert (found["won"], found["lost"]) == (6, 10)
    assert found["value"] == pytest.approx(-0.04)
    assert (found["low"], found["high"]) == pytest.approx((-0.04 - half, -0.04 + half))


def test_only_classifiers_are_compared(teacher: Checkpoint, tmp_path: Path) -> None:
    path = save(replace(teacher, card=replace(teacher.card, task="retrieval")), tmp_path / "retrieval.safetensors")
    with pytest.raises(DataError, match="was trained for retrieval"):
        study(path, "digits")
