from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper
from torch import Tensor
from typer.testing import CliRunner, Result

from cli.main import app
from compress.checkpoint import Checkpoint, save
from compress.errors import ExportError
from compress.evidence import Record
from compress.models import build
from compress.quantization import SCHEMES
from compress.smaller import quantized_by
from exports import Artefact, Settings, ship
from exports.claims import verify
from exports.graph.seal import seal

NAMES = ("seal", "weights", "card", "export again", "parity")


def verdicts(path: Path, checkpoint: Checkpoint, images: Tensor) -> dict[str, str]:
    return {claim.record.quantity: claim.verdict for claim in verify(path, checkpoint, [images])}


def failed_of(graph: onnx.ModelProto, changed: Path, checkpoint: Checkpoint, images: Tensor) -> set[str]:
    """The claims of a graph that do not hold, once it is a file."""
    onnx.save(graph, changed)
    return {name for name, verdict in verdicts(changed, checkpoint, images).items() if verdict == "FAILED"}


def scaled(factor: float) -> Callable[[onnx.ModelProto], None]:
    """One weight of the last layer multiplied."""

    def change(model: onnx.ModelProto) -> None:
        tensor = next(t for t in model.graph.initializer if list(t.dims) == [10, 64])
        values = numpy_helper.to_array(tensor).copy()
        values[3, 7] *= np.float32(factor)
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))

    return change


def relabelled(old: str, new: str) -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        entry = model.metadata_props[0]
        assert old in entry.value
        entry.value = entry.value.replace(old, new)

    return change


def swapped_classes(model: onnx.ModelProto) -> None:
    label = json.loads(model.metadata_props[0].value)
    names = label["card"]["classes"]
    names[2], names[3] = names[3], names[2]
    model.metadata_props[0].value = json.dumps(label, separators=(",", ":"))


def padded(model: onnx.ModelProto) -> None:
    """Another graph that gives the same outputs."""
    output = model.graph.output[0].name
    model.graph.node[-1].output[0] = "inner"
    model.graph.node.append(helper.make_node("Identity", ["inner"], [output]))


ALTERED: dict[str, tuple[Callable[[onnx.ModelProto], None], set[str]]] = {
    "a weight by 1 ulp": (scaled(1 + 2**-23), {"export again"}),
    "a weight by 1 %": (scaled(1.01), {"export again", "parity"}),
    "a weight by 10 %": (scaled(1.1), {"export again", "parity"}),
    "a weight to NaN": (scaled(np.nan), {"export again", "parity"}),
    "class names swapped": (swapped_classes, {"card", "export again"}),
    "mean": (relabelled('"mean":[0.5', '"mean":[0.6'), {"card", "export again"}),
    "preprocessing in words": (relabelled("Divide by 255", "Divide by 256"), {"export again"}),
    "digest of the weights": (relabelled('"weights_sha256":"', '"weights_sha256":"00'), {"weights", "export again"}),
    "lineage": (relabelled('"seed":3', '"seed":4'), {"export again"}),
    "a node more": (padded, {"export again"}),
}


@pytest.mark.parametrize(("change", "noticed"), ALTERED.values(), ids=ALTERED.keys())
def test_an_altered_file_fails_even_when_it_was_sealed_again(
    checkpoint: Checkpoint,
    graph: onnx.ModelProto,
    changed: Path,
    images: Tensor,
    change: Callable[[onnx.ModelProto], None],
    noticed: set[str],
) -> None:
    change(graph)
    del graph.metadata_props[1]
    seal(graph)
    assert failed_of(graph, changed, checkpoint, images) == noticed


@pytest.mark.parametrize(
    ("change", "noticed"),
    [
        pytest.param(*case, id=name, marks=() if name in ("a weight by 1 ulp", "mean") else pytest.mark.slow)
        for name, case in ALTERED.items()
    ],
)
def test_an_altered_file_breaks_its_seal(
    checkpoint: Checkpoint,
    graph: onnx.ModelProto,
    changed: Path,
    images: Tensor,
    change: Callable[[onnx.ModelProto], None],
    noticed: set[str],
) -> None:
    change(graph)
    assert failed_of(graph, changed, checkpoint, images) == {"seal", *noticed}


def test_the_file_as_exported_holds_what_it_claims(checkpoint: Checkpoint, exported: Artefact, images: Tensor) -> None:
    claims = verify(exported.path, checkpoint, [images])
    assert [claim.record.quantity for claim in claims] == list(NAMES)
    assert [(claim.verdict, claim.record.reason) for claim in claims] == [("ok", "")] * 5
    parity = claims[-1].record
    assert (parity.n, parity.sha256) == (130, exported.sha256)
    assert isinstance(parity.value, float)
    assert parity.high is not None
    assert parity.value <= parity.high


def test_the_settings_of_the_export_are_those_of_the_second(
    checkpoint: Checkpoint, images: Tensor, tmp_path: Path
) -> None:
    path = tmp_path / "student.onnx"
    ship(checkpoint, path, [images], settings=Settings(opset=18, lineage=False))
    assert set(verdicts(path, checkpoint, images).values()) == {"ok"}


@pytest.mark.parametrize("suffix", [".onnx", pytest.param(".tflite", marks=pytest.mark.slow)])
def test_the_lineage_of_a_file_ends_with_its_export_once_and_is_exported_so_again(
    checkpoint: Checkpoint, images: Tensor, tmp_path: Path, suffix: str
) -> None:
    typed = "edgepress export /home/me/student.safetensors -o dist"
    wish = Settings(command=typed)
    shipped = ship(checkpoint, tmp_path / f"whole{suffix}", [images], settings=wish).artefact
    assert shipped.card is not None
    assert dict(shipped.card.lineage[-1]) == {"command": typed.replace("/home/me/", ""), "exported": True}
    assert len(shipped.card.lineage) == len(checkpoint.card.lineage) + 1
    assert set(verdicts(shipped.path, checkpoint, images).values()) == {"ok"}
    here = quantized_by(checkpoint, SCHEMES["w8"], typed, rounding="nearest", images=[images])
    once = ship(here, tmp_path / f"once{suffix}", [images], settings=wish).artefact
    assert once.card is not None
    assert [step["command"] for step in once.card.lineage] == [step["command"] for step in shipped.card.lineage]
    before = quantized_by(checkpoint, SCHEMES["w8"], "edgepress quantize", rounding="nearest", images=[images])
    path = tmp_path / f"before{suffix}"
    ship(before, path, [images], settings=wish)
    for source in (before, checkpoint):
        found = verify(path, source, [images], look=lambda _: [images])
        assert [claim.verdict for claim in found[:4]] == ["ok"] * 4


def test_another_network_is_told_apart(checkpoint: Checkpoint, exported: Artefact, images: Tensor) -> None:
    other = replace(checkpoint, network=build(checkpoint.card.architecture, seed=2))
    found = verdicts(exported.path, other, images)
    assert found == {**dict.fromkeys(NAMES, "FAILED"), "seal": "ok", "card": "ok"}


def test_other_versions_are_said_and_not_compared(
    checkpoint: Checkpoint, graph: onnx.ModelProto, changed: Path, images: Tensor
) -> None:
    relabelled(torch.__version__, "1.0.0")(graph)
    del graph.metadata_props[1]
    seal(graph)
    onnx.save(graph, changed)
    again = verify(changed, checkpoint, [images])[3]
    assert again.verdict == "not checked"
    assert "torch 1.0.0 wrote the file" in again.sentence
    assert again.record.reason in again.sentence


def test_a_file_of_an_earlier_version_is_checked_as_far_as_it_goes(
    checkpoint: Checkpoint, graph: onnx.ModelProto, changed: Path, images: Tensor
) -> None:
    label = json.loads(graph.metadata_props[0].value)
    del label["format"], label["preprocessing"], graph.metadata_props[1]
    graph.metadata_props[0].value = json.dumps(label)
    onnx.save(graph, changed)
    found = verdicts(changed, checkpoint, images)
    assert found == {**dict.fromkeys(NAMES, "ok"), "seal": "not checked", "export again": "not checked"}


def test_a_file_of_another_tool_claims_nothing(
    checkpoint: Checkpoint, graph: onnx.ModelProto, changed: Path, images: Tensor
) -> None:
    del graph.metadata_props[:]
    onnx.save(graph, changed)
    with pytest.raises(ExportError, match="was not written by edgepress"):
        verify(changed, checkpoint, [images])


def run(*words: object) -> Result:
    return CliRunner().invoke(app, ["verify", *map(str, words)])


@pytest.fixture
def source(checkpoint: Checkpoint, tmp_path: Path) -> Path:
    return save(checkpoint, tmp_path / "student.safetensors")


def test_the_command_says_ok_of_every_claim(exported: Artefact, source: Path) -> None:
    result = run(exported.path, "--against", source, "--samples", 20)
    assert result.exit_code == 0, result.output
    first, *lines = result.stdout.splitlines()
    assert first.startswith("compared on uniform noise (the checkpoint names no data")
    assert [line.split(":")[0].split(maxsplit=1) for line in lines] == [["ok", name] for name in NAMES]
    assert lines[-1].endswith("20 samples")


def test_the_command_ends_with_3_and_a_line_for_each_claim_that_fails(
    graph: onnx.ModelProto, source: Path, changed: Path
) -> None:
    scaled(1.1)(graph)
    onnx.save(graph, changed)
    result = run(changed, "--against", source)
    assert result.exit_code == 3
    failed = [line for line in result.stdout.splitlines() if line.startswith("FAILED ")]
    assert [line.split(":")[0].split(maxsplit=1)[1] for line in failed] == ["seal", "export again", "parity"]
    assert result.stderr == f"error: {changed}: 3 of 5 claims failed; do not ship it, export it again\n"


def test_the_command_gives_records(exported: Artefact, source: Path) -> None:
    result = run(exported.path, "--against", source, "--json")
    assert result.exit_code == 0
    document: dict[str, Any] = json.loads(result.stdout)
    verdicts = [claim.pop("verdict") for claim in document["claims"]]
    (agreement,) = [beside for claim in document["claims"] for beside in claim.pop("beside")]
    records = [Record.from_dict(claim) for claim in document["claims"]]
    assert verdicts == ["ok"] * 5
    assert (agreement["quantity"], agreement["value"], agreement["unit"]) == ("top1_agreement", 1.0, "share")
    assert [record.quantity for record in records] == list(NAMES)
    assert {record.sha256 for record in records} == {exported.sha256}
    assert records[0].environment["torch"] == torch.__version__.partition("+")[0]


def test_what_is_missing_ends_with_2(exported: Artefact, source: Path, tmp_path: Path) -> None:
    for words in ((tmp_path / "gone.onnx", "--against", source), (exported.path, "--against", tmp_path / "gone")):
        result = run(*words)
        assert result.exit_code == 2
        assert "does not exist" in result.stderr
