from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import onnx
import pytest
import torch
from onnx import TensorProto, helper
from typer.testing import CliRunner, Result

from cli.main import app
from compress.checkpoint import Card, Checkpoint, blank_image, save
from compress.models import Architecture, build
from compress.preprocessing import Preprocessing
from compress.pruning import prune
from exports import noise, ship

STEPS = (
    {
        "command": "edgepress train cnn-s --data digits -o first.safetensors",
        "data": {"name": "digits", "fingerprint": "f0"},
        "seed": 3,
        "metrics": {"top1": 0.875},
    },
    {"command": "edgepress prune first.safetensors", "ratio": 0.5},
    {
        "command": "edgepress prune first.safetensors --steps 3",
        "ratio": 0.75,
        "step": [2, 3],
        "criterion": "lamp",
        "scope": "global",
    },
    {"command": "edgepress prune first.safetensors --steps 3", "refitted_layers": 4},
)


def inspect(*words: str | Path) -> Result:
    return CliRunner().invoke(app, ["inspect", *map(str, words)], env={"COLUMNS": "200"})


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    """A cnn-s with half of its channels cut."""
    architecture = Architecture("cnn-s", 3, 1, (32, 32))
    card = Card(
        architecture, Preprocessing(architecture.size, 1, (0.25,), (0.5,)), ("[red]", "green", "blue"), lineage=STEPS
    )
    network, cuts = prune(build(architecture), blank_image(card), 0.5)
    return Checkpoint(
        network, Card(card.architecture, card.preprocessing, card.classes, edits=tuple(cuts), lineage=STEPS)
    )


@pytest.fixture(scope="module")
def file(checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(checkpoint, tmp_path_factory.mktemp("checkpoint") / "pruned.safetensors")


@pytest.fixture(scope="module")
def exported(checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ship(checkpoint, tmp_path_factory.mktemp("exported") / "pruned.onnx", [noise(checkpoint.card)]).artefact.path


def test_a_checkpoint_as_json(checkpoint: Checkpoint, file: Path) -> None:
    result = inspect(file, "--json")
    assert result.exit_code == 0
    facts = json.loads(result.stdout)
    parameters = sum(parameter.numel() for parameter in checkpoint.network.model.parameters())
    assert (facts["network"], facts["task"]) == ("cnn-s", "classification")
    assert (facts["input_shape"], facts["mean"], facts["std"]) == ([1, 32, 32], [0.25], [0.5])
    assert facts["classes"] == ["[red]", "green", "blue"]
    assert facts["parameters"] == parameters < 14_906
    assert facts["size_bytes"] == file.stat().st_size
    assert facts["macs"] > 0
    assert facts["surgery"]["cuts"] == len(checkpoint.card.edits) > 0
    assert facts["lineage"] == list(STEPS)
    assert [stage["name"] for stage in facts["stages"]] == ["map1", "map2", "map3", "embedding", "logits"]
    assert facts["stages"][0]["shape"] == [4, 15, 15]


def test_a_checkpoint_as_tables(file: Path) -> None:
    result = inspect(file)
    assert result.exit_code == 0
    for text in (
        "cnn-s",
        "1 x 32 x 32",
        "3: [red], green, blue",
        "mean [0.25], std [0.5]",
        f"{file.stat().st_size:,}",
        "edgepress train cnn-s --data digits -o first.safetensors; data digits; seed 3; top1 0.875",
        "edgepress prune first.safetensors; cut by 0.5",
        "edgepress prune first.safetensors --steps 3; cut 2 of 3 by 0.75, lamp, global",
        "edgepress prune first.safetensors --steps 3; 4 layers fitted",
        "map1",
        "4 x 15 x 15",
    ):
        assert text in result.stdout


def test_an_exported_file_says_what_its_checkpoint_says(file: Path, exported: Path) -> None:
    before, after = (json.loads(inspect(path, "--json").stdout) for path in (file, exported))
    for name in (
        "network",
        "task",
        "input_shape",
        "mean",
        "std",
        "classes",
        "surgery",
        "lineage",
        "parameters",
        "macs",
    ):
        assert after[name] == before[name]
    assert after["size_bytes"] == exported.stat().st_size
    assert after["values"] < after["parameters"]
    assert after["operators"]["Conv"] == 3
    assert after["output_shape"] == [3]
    assert after["provenance"]["parameters"] == before["parameters"]


def test_an_exported_file_as_a_table(exported: Path) -> None:
    text = inspect(exported).stdout
    assert "opset 20, ir_version 10" in text
    assert "Relu 4, Conv 3, MaxPool 3, Gemm 2, Reshape 1" in text
    assert "before export" in text
    assert "weights_sha256" in text
    assert "unbroken, sha256 " in text
    assert "Turn the image upright by its EXIF orientation." in " ".join(text.replace("\u2502", " ").split())


def test_a_file_of_an_earlier_version_has_no_seal_and_says_so(exported: Path, tmp_path: Path) -> None:
    model = onnx.load(exported)
    label = json.loads(model.metadata_props[0].value)
    del label["format"], label["preprocessing"], model.metadata_props[1]
    model.metadata_props[0].value = json.dumps(label)
    onnx.save(model, tmp_path / "older.onnx")
    result = inspect(tmp_path / "older.onnx")
    assert result.exit_code == 0
    assert "not recorded" in result.stdout


def test_a_foreign_onnx_file(tmp_path: Path) -> None:
    path = tmp_path / "foreign.onnx"
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 3, "h", None]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "graph", values[:1], values[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8), path)
    facts = json.loads(inspect(path, "--json").stdout)
    assert (facts["input_shape"], facts["parameters"], facts["values"]) == ([3, "h", "?"], None, 0)
    assert (facts["opset"], facts["operators"]) == (18, {"Relu": 1})
    assert "network" not in facts
    assert "3 x h x ?" in inspect(path).stdout


@pytest.mark.parametrize(
    "name", ["missing.onnx", "missing.safetensors", "broken.onnx", "broken.safetensors", "pickle.pt"]
)
def test_a_file_that_cannot_be_read_is_told_in_one_message(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name.startswith("broken"):
        path.write_bytes(b"neither")
    if name.startswith("pickle"):
        torch.save({"weight": torch.zeros(1)}, path)
    result = inspect(path)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith(f"error: {path}")


def loaded(*typed: tuple[str | Path, ...]) -> set[str]:
    """The modules that are loaded once these commands have succeeded, in a process of their own."""
    lines = [[*map(str, words)] for words in typed]
    code = "import sys; from cli.main import app\n"
    code += f"for words in {lines}: app(words, standalone_mode=False)\nprint(*sys.modules, file=sys.stderr)"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True)
    assert done.stdout
    return set(done.stderr.split())


def test_a_checkpoint_needs_neither_torchvision_nor_the_compiler_of_torch(
    checkpoint: Checkpoint, tmp_path: Path
) -> None:
    whole = build(checkpoint.card.architecture)
    path = save(Checkpoint(whole, replace(checkpoint.card, edits=())), tmp_path / "whole.safetensors")
    found = loaded(("inspect", path))
    assert "torch" in found
    assert not {"torchvision", "torch._dynamo"} & found


def test_an_exported_file_is_shown_without_torch(checkpoint: Checkpoint, exported: Path, tmp_path: Path) -> None:
    lite = ship(checkpoint, tmp_path / "pruned.tflite", [noise(checkpoint.card)]).artefact.path
    shown = [(exported,), (exported, "--json"), (exported, "--bytes"), (lite,)]
    found = loaded(*(("inspect", *words) for words in shown))
    assert {"onnxruntime", "ai_edge_litert", "exports.label"} <= found
    assert not {"torch", "torchvision", "scipy"} & found


def test_exported_files_are_timed_without_torch(checkpoint: Checkpoint, exported: Path, tmp_path: Path) -> None:
    lite = ship(checkpoint, tmp_path / "pruned.tflite", [noise(checkpoint.card)]).artefact.path
    protocol = ("--sessions", "2", "--rounds", "10", "--batch", "1,2", "--with-preprocessing")
    found = loaded(("benchmark", exported, lite, *protocol, "-o", tmp_path / "bench.json"))
    assert {"onnxruntime", "ai_edge_litert", "benchmarks.bench"} <= found
    assert not {"torch", "torchvision", "scipy"} & found


def test_the_bytes_of_a_checkpoint_are_counted_without_torch(file: Path) -> None:
    found = loaded(("inspect", file, "--bytes"))
    assert "compress.header" in found
    assert "torch" not in found
