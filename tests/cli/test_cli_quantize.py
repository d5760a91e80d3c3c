from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path

import onnx
import pytest
import torch
from typer.testing import CliRunner, Result

from cli.main import app
from compress.checkpoint import Checkpoint, load, save
from compress.data import DataOptions
from compress.data import load as load_data
from compress.evidence import weights_digest
from compress.named import Named
from compress.opening import new_network
from exports import format_of
from exports.graph.seal import seal
from exports.run_onnx import read


def edgepress(*words: str | Path | int) -> Result:
    return CliRunner().invoke(app, [*map(str, words)])


def quantize(path: Path, *words: str | Path | int) -> Result:
    return edgepress("quantize", path, "--data", "digits", "--fraction", 0.2, *words)


def test_a_scheme_gives_a_small_file_and_says_what_it_cost(teacher_path: Path, tmp_path: Path) -> None:
    output = tmp_path / "small.onnx"
    result = quantize(teacher_path, "--scheme", "w8", "--calibrate", 32, "-o", output)
    assert result.exit_code == 0, result.output
    heading, score, images, against, parity = result.stdout.splitlines()
    assert heading == f"{output}: {output.stat().st_size:,} bytes, 5 layers of 8 bits"
    assert score.startswith("top1 ")
    assert score.endswith(" points) on 450 test images")
    assert "McNemar's exact test: p = " in images
    assert "top-1 agreement" in against
    assert parity.endswith("top-1 agreement 100.00%, 450 samples")
    assert read(output).card is not None
    assert output.stat().st_size < 0.5 * teacher_path.stat().st_size


def _verdicts(result: Result) -> list[str]:
    return [line.split(maxsplit=1)[0] for line in result.stdout.splitlines()[1:]]


@pytest.mark.parametrize(("scheme", "suffix"), [("w4", ".onnx"), ("static", ".tflite")])
def test_a_file_is_quantized_once_more_to_be_verified_against_the_network_before(
    teacher_path: Path, tmp_path: Path, scheme: str, suffix: str
) -> None:
    output = tmp_path / f"small{suffix}"
    assert edgepress("quantize", teacher_path, "--scheme", scheme, "--data", "digits", "-o", output).exit_code == 0
    result = edgepress("verify", output, "--against", teacher_path, "--data", "digits")
    assert result.exit_code == 0, result.output
    assert _verdicts(result) == ["ok"] * 5
    assert "quantized once more: the checkpoint exported anew gives the same file, bit for bit" in result.stdout


def test_codes_that_were_altered_are_found_against_the_network_before(teacher_path: Path, tmp_path: Path) -> None:
    output, changed = tmp_path / "small.onnx", tmp_path / "changed.onnx"
    assert edgepress("quantize", teacher_path, "--scheme", "w8", "--data", "digits", "-o", output).exit_code == 0
    model = onnx.load(output)
    tensor = next(tensor for tensor in model.graph.initializer if tensor.data_type == onnx.TensorProto.INT8)
    codes = onnx.numpy_helper.to_array(tensor).copy()
    codes.flat[0] += 1 if codes.flat[0] < 0 else -1
    tensor.CopyFrom(onnx.numpy_helper.from_array(codes, tensor.name))
    del model.metadata_props[-1]
    seal(model)
    onnx.save(model, changed)
    result = edgepress("verify", changed, "--against", teacher_path, "--data", "digits")
    assert result.exit_code == 3
    assert _verdicts(result)[:4] == ["ok", "ok", "ok", "FAILED"]


def test_a_file_with_quantized_weights_is_verified_against_the_network_before(
    teacher_path: Path, teacher: Checkpoint, tmp_path: Path
) -> None:
    output, other = tmp_path / "small.onnx", tmp_path / "other.safetensors"
    assert quantize(teacher_path, "--scheme", "w8", "-o", output).exit_code == 0
    result = edgepress("verify", output, "--against", teacher_path, "--data", "digits")
    assert result.exit_code == 0, result.output
    assert _verdicts(result) == ["ok", "ok", "ok", "not", "not"]
    assert "its codes were made from the weights of the checkpoint" in result.stdout
    assert "it was calibrated on other images than these data begin with" in result.stdout  # a fifth of them
    assert "float weights: top-1 agreement " in result.stdout
    network = new_network(Named("cnn-a", options={"width": 8}), load_data("digits", DataOptions(size=(24, 24))), seed=0)
    save(replace(teacher, network=network.network), other)
    result = edgepress("verify", output, "--against", other, "--data", "digits")
    assert result.exit_code == 3
    assert "its codes were made from other weights" in result.stdout


def test_the_same_as_records_and_as_a_checkpoint(teacher_path: Path, tmp_path: Path) -> None:
    output = tmp_path / "small.safetensors"
    result = quantize(teacher_path, "--scheme", "w4", "--rounding", "nearest", "--json", "-o", output)
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    records = {record["quantity"]: record for record in found["records"]}
    assert records["size"]["value"] == output.stat().st_size
    assert {record["sha256"] for record in found["records"][:1]} == {records["top1"]["sha256"]}
    assert records["top1"]["n"] == 450
    lost, won = records["images_lost"]["value"], records["images_won"]["value"]
    assert 450 * (records["top1_before"]["value"] - records["top1"]["value"]) == pytest.approx(lost - won)
    assert records["layers_4_bits"]["value"] == 5
    for name in ("top1_before", "top1", "drop"):
        assert records[name]["low"] < records[name]["value"] < records[name]["high"]
    assert records["drop"]["value"] == pytest.approx(100 * (lost - won) / 450)
    assert records["top1_before"]["sha256"] == weights_digest(load(teacher_path).network.model)
    assert [grid.bits for grid in load(output).card.grids] == [4] * 5


def test_training_through_the_rounding_wins_back_what_two_bits_lost(teacher_path: Path, tmp_path: Path) -> None:
    plain, trained = tmp_path / "plain.safetensors", tmp_path / "trained.safetensors"
    lost = json.loads(quantize(teacher_path, "--scheme", "w2", "--rounding", "nearest", "--json", "-o", plain).stdout)
    words = ("--qat", "w2", "--epochs", 4, "--lr", 0.003, "--json", "-o", trained)
    result = quantize(teacher_path, *words)
    assert result.exit_code == 0, result.output
    after = {record["quantity"]: record["value"] for record in json.loads(result.stdout)["records"]}
    before = {record["quantity"]: record["value"] for record in lost["records"]}
    assert after["top1"] > before["top1"] + 0.05
    rounded, taught = load(trained).card.lineage[-2:]
    assert rounded["layers_by_bits"] == {"2": 5}
    assert taught["phases"] == [["okd", 4]]
    shipped = edgepress("export", trained, "--data", "digits", "-o", tmp_path / "trained.onnx")
    assert shipped.exit_code == 0, shipped.output
    assert "ONNX opset 25" in shipped.stdout
    again = edgepress("verify", tmp_path / "trained.onnx", "--against", trained, "--data", "digits")
    assert again.exit_code == 0, again.output


@pytest.mark.parametrize(("method", "phases"), [("hints", 1), ("indistill", 2)])
def test_maps_teach_a_network_of_their_own_channels(
    teacher_path: Path, tmp_path: Path, method: str, phases: int
) -> None:
    output = tmp_path / "trained.safetensors"
    result = quantize(teacher_path, "--qat", "w8", "--method", method, "--epochs", 2, "--json", "-o", output)
    assert result.exit_code == 0, result.output
    found = {record["quantity"]: record["value"] for record in json.loads(result.stdout)["records"]}
    assert found["top1"] > found["top1_before"] - 0.02
    assert len(load(output).card.lineage[-1]["phases"]) == phases


def test_more_loss_than_is_allowed_leaves_no_file(teacher_path: Path, tmp_path: Path) -> None:
    for name in ("small.onnx", "small.safetensors"):
        words = ("--scheme", "w2", "--rounding", "nearest", "--max-drop", 0, "-o", tmp_path / name)
        result = quantize(teacher_path, *words)
        assert result.exit_code == 3
        assert "points of top1, more than the 0 of --max-drop" in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "give --scheme w8"),
        (("--scheme", "w8", "--qat", "w8"), "give one of the two"),
        (("--scheme", "w3"), "unknown scheme 'w3'"),
        (("--scheme", "w8", "--rounding", "up"), "unknown rounding 'up'"),
        (("--scheme", "w8", "--epochs", 3), "--epochs: nothing is trained with --scheme"),
        (("--scheme", "w8", "--rounding", "nearest", "--calibrate", 3), "--calibrate: nothing is looked at"),
        (("--scheme", "w8", "--keep-float", "nowhere"), "'nowhere': no layer with weights matches"),
        (("--scheme", "w4", "--mixed", "map1=w8,map1=w2"), "--mixed map1: given twice"),
        (("--scheme", "w2", "--mixed", "map1"), "--mixed map1: give LAYER=SCHEME"),
        (("--scheme", "w2", "--mixed", "map1=8"), "unknown scheme '8'"),
        (("--scheme", "w8", "--sensitivity"), "--sensitivity writes a .json file"),
        (("--scheme", "w8", "--sensitivity", "--epochs", 3), "--epochs: --sensitivity trains and ships nothing"),
        (("--qat", "w8"), "a checkpoint is a .safetensors file"),
        (("--qat", "w8", "--max-drop", 1), "--max-drop: what was trained is kept"),
    ],
)
def test_bad_words_end_in_one_message(
    teacher_path: Path, tmp_path: Path, words: tuple[str | int, ...], said: str
) -> None:
    result = quantize(teacher_path, *words, "-o", tmp_path / "small.onnx")
    assert result.exit_code == 2
    assert said in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_inspect_says_which_layers_are_quantized(teacher_path: Path, tmp_path: Path) -> None:
    output = tmp_path / "small.onnx"
    words = ("--scheme", "w4", "--rounding", "nearest", "--keep-float", "map1", "--mixed", "logits=w8", "-o", output)
    assert quantize(teacher_path, *words).exit_code == 0
    found = json.loads(edgepress("inspect", output, "--json").stdout)
    assert found["quantized"] == {"blocks.1.conv": 4, "blocks.2.conv": 4, "embedding.1": 4, "classifier": 8}
    assert found["needs"] == "ONNX Runtime 1.23 or newer"


def test_a_bare_file_claims_nothing_that_could_be_verified(teacher_path: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare.onnx"
    assert edgepress("export", teacher_path, "--bare", "--data", "digits", "-o", bare).exit_code == 0
    result = edgepress("verify", bare, "--against", teacher_path, "--data", "digits")
    assert result.exit_code == 2
    assert "it claims nothing" in result.stderr


def test_sensitivity_names_the_layer_that_was_made_fragile(teacher: Checkpoint, tmp_path: Path) -> None:
    """One huge weight in one channel leaves the others of its layer few codes."""
    fragile, output = copy.deepcopy(teacher), tmp_path / "sensitivity.json"
    with torch.no_grad():
        fragile.network.model.get_parameter("embedding.1.weight")[:, 0] += 1
    path = save(fragile, tmp_path / "fragile.safetensors")
    result = quantize(path, "--scheme", "w4", "--rounding", "nearest", "--sensitivity", "--calibrate", 64, "-o", output)
    assert result.exit_code == 0, result.output
    layers = json.loads(output.read_text())["layers"]
    assert {layer["layer"] for layer in layers} == {
        "blocks.0.conv",
        "blocks.1.conv",
        "blocks.2.conv",
        "embedding.1",
        "classifier",
    }
    errors = [layer["record"]["value"] for layer in layers]
    assert errors == sorted(errors, reverse=True)
    assert layers[0]["layer"] == "embedding.1"
    assert layers[0]["saved_bytes"] == layers[0]["weights"] * 28 // 8
    assert "embedding.1" in result.stdout


def test_a_network_for_retrieval_is_quantized_without_its_untaught_head(teacher: Checkpoint, tmp_path: Path) -> None:
    path = tmp_path / "retrieval.safetensors"
    save(replace(teacher, card=replace(teacher.card, task="retrieval")), path)
    output = tmp_path / "small.onnx"
    result = quantize(path, "--scheme", "w4", "--rounding", "nearest", "-o", output)
    assert result.exit_code == 0, result.output
    assert "4 layers of 4 bits, 640 other weights stay float32" in result.stdout
    trained = tmp_path / "trained.safetensors"
    assert quantize(path, "--qat", "w4", "--epochs", 1, "-o", trained).exit_code == 0
    assert load(trained).card.lineage[-1]["phases"] == [["embedding", 1]]
    assert edgepress("export", trained, "--data", "digits", "-o", tmp_path / "trained.onnx").exit_code == 0


def test_a_finished_training_says_so_when_it_is_resumed(teacher_path: Path, tmp_path: Path) -> None:
    words = ("--qat", "w8", "--epochs", 1, "-o", tmp_path / "trained.safetensors")
    assert quantize(teacher_path, *words).exit_code == 0
    assert "already finished" in quantize(teacher_path, *words, "--resume").stdout


def test_steps_are_no_parameters(teacher_path: Path, tmp_path: Path) -> None:
    output = tmp_path / "small.onnx"
    assert quantize(teacher_path, "--scheme", "w8", "--rounding", "nearest", "-o", output).exit_code == 0
    before, after = (json.loads(edgepress("inspect", path, "--json").stdout) for path in (teacher_path, output))
    assert before["parameters"] == after["parameters"]


def test_static_numbers_are_said_and_inspected(teacher_path: Path, tmp_path: Path) -> None:
    output = tmp_path / "small.onnx"
    result = quantize(teacher_path, "--scheme", "static", "--full-range", "--equalize", "--correct-bias", "-o", output)
    assert result.exit_code == 0, result.output
    heading, *_, graph, kernels = result.stdout.splitlines()
    assert heading.endswith(" bytes, 5 layers of 8 bits, 5 activations of 8 bits")
    assert graph.startswith("to its own codes: parity: rms difference ")
    assert kernels.startswith("to its own codes: kernels of this machine against the graph: rms difference ")
    assert "x86 CPUs without VNNI instructions saturate in it and say nothing" in result.stderr
    told = edgepress("inspect", output, "--json")
    facts = json.loads(told.stdout)
    assert facts["activations"][0] == {"places": ["into blocks.0.conv"], "bits": 8}
    assert (facts["lineage"][-1]["equalize"], facts["lineage"][-1]["correct_bias"]) == (True, True)
    shown = " ".join(edgepress("inspect", output).stdout.replace("│", " ").split())
    assert "activations 5 values of 8 bits: into blocks.0.conv, out of blocks.0.relu, " in shown


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--scheme", "w8", "--ranges", "min-max"), "--ranges"),
        (("--qat", "w4", "--full-range"), "--full-range"),
        (("--scheme", "static", "--ranges", "widest"), "widest"),
        (("--scheme", "static", "--sensitivity", "--equalize"), "--equalize"),
    ],
)
def test_options_of_static_alone_are_refused_elsewhere(
    teacher_path: Path, tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    result = quantize(teacher_path, *words, "-o", tmp_path / "out.json")
    assert result.exit_code == 2
    assert said in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_static_numbers_are_trained_and_exported(teacher_path: Path, tmp_path: Path) -> None:
    output = tmp_path / "trained.safetensors"
    result = quantize(teacher_path, "--qat", "static", "--epochs", 1, "-o", output)
    assert result.exit_code == 0, result.output
    assert len(load(output).card.activations) == 5
    result = edgepress("export", output, "-o", tmp_path / "trained.onnx", "--data", "digits", "--input", "uint8")
    assert result.exit_code == 0, result.output
    assert "parity: rms difference " in result.stdout
    result = edgepress("verify", tmp_path / "trained.onnx", "--against", output, "--data", "digits")
    assert result.exit_code == 0, result.output
    assert _verdicts(result) == ["ok"] * 5


@pytest.mark.extra("openvino")
def test_a_format_that_is_a_folder_is_weighed_as_a_whole(teacher_path: Path, tmp_path: Path) -> None:
    output = tmp_path / "small.openvino"
    result = quantize(teacher_path, "--scheme", "w8", "--rounding", "nearest", "--json", "-o", output)
    assert result.exit_code == 0, result.output
    size = json.loads(result.stdout)["records"][0]
    assert size["value"] == sum(path.stat().st_size for path in output.iterdir())
    assert size["sha256"] == format_of(output).read(output).sha256
