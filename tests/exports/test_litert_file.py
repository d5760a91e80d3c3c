"""A .tflite file as it is shipped: small, labelled, sealed, the same bits again; and what becomes of a damaged one."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import pytest
import torch
from ai_edge_litert import schema_py_generated as schema
from torch import Tensor

from benchmarks.measure.start import Opened, starts
from compress.checkpoint import Card, Checkpoint, blank_image
from compress.cost import network_census
from compress.errors import ExportError
from compress.models import Architecture, build
from compress.preprocessing import Preprocessing
from compress.pruning import prune
from compress.quantization import SCHEMES, plan, quantize
from compress.smaller import quantized_by
from exports import Artefact, Settings, Shipped, noise, ship
from exports.claims import verify
from exports.formats import FORMATS
from exports.litert.builder import Builder, pack
from exports.run_litert import read

Change = Callable[[Any], None]

FLOATS = schema.TensorType.FLOAT32


@pytest.fixture(scope="module")
def lite(checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Shipped:
    return ship(checkpoint, tmp_path_factory.mktemp("exported") / "student.tflite", [noise(checkpoint.card)])


@pytest.fixture(scope="module")
def file(lite: Shipped) -> Path:
    return lite.artefact.path


def changed(file: Path, path: Path, change: Change) -> Path:
    """The file with its model taken apart, changed and put together again."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(file.read_bytes(), 0))
    change(model)
    builder = flatbuffers.Builder(100_000)
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(bytes(builder.Output()))
    return path


def anonymous(model: Any) -> None:
    model.metadata, model.description = None, None


def test_it_gives_the_answers_of_the_network_at_any_batch_size(
    checkpoint: Checkpoint, lite: Shipped, images: Tensor
) -> None:
    artefact = lite.artefact
    assert lite.parity.max_abs_difference < 1e-6
    assert (artefact.layout, artefact.dtype, artefact.batch) == ("NHWC", "float32", None)
    assert artefact.image_shape == (3, 32, 32)
    with torch.no_grad():
        for batch in (1, 3, 130, 1):
            expected = checkpoint.network.model(images[:batch])
            torch.testing.assert_close(artefact(images[:batch]), expected, rtol=1e-4, atol=1e-5)


def test_a_bound_call_runs_on_its_images_again_and_again(lite: Shipped, images: Tensor) -> None:
    artefact = read(lite.artefact.path)
    expected = artefact(images[:2])
    call: Any = artefact.bind(images[:2].numpy())
    for _ in range(3):
        call()
        np.testing.assert_array_equal(call.interpreter.get_tensor(call.output), expected.numpy())
    call.feed(images[2:4].numpy())
    call()
    np.testing.assert_array_equal(call.interpreter.get_tensor(call.output), artefact(images[2:4]).numpy())


def test_it_is_hardly_larger_than_its_weights_and_label(checkpoint: Checkpoint, file: Path, tmp_path: Path) -> None:
    bare = ship(checkpoint, tmp_path / "bare.tflite", [noise(checkpoint.card)], settings=Settings(lineage=False))
    content = file.read_bytes()
    label = content[content.index(b'{"format"') :].split(b"\0", 1)[0]
    assert file.stat().st_size - len(label) < 14_938 * 4 + 2000
    assert bare.artefact.size_bytes < file.stat().st_size
    assert b"distill" not in bare.artefact.path.read_bytes()
    assert b"/home" not in content
    assert b"/srv" not in content


@pytest.mark.parametrize(("bits", "most"), [(16, 33_500), (8, 19_500), (4, 12_200), (2, 8_500)])
def test_weights_of_fewer_bits_make_a_smaller_file(
    checkpoint: Checkpoint, bits: int, most: int, tmp_path: Path
) -> None:
    grids = plan(checkpoint.network, bits)
    card = replace(checkpoint.card, edits=grids)
    rounded = Checkpoint(quantize(checkpoint.network, grids), card)
    shipped = ship(rounded, tmp_path / "n.tflite", [noise(card)], settings=Settings(label=False))
    assert shipped.parity.max_abs_difference < shipped.parity.allowed_difference / 4
    assert shipped.artefact.size_bytes < most


def test_the_same_checkpoint_gives_the_same_bytes(checkpoint: Checkpoint, file: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.tflite"
    FORMATS[".tflite"].write(checkpoint, again, Settings())
    assert again.read_bytes() == file.read_bytes()
    assert FORMATS[".tflite"].differences(file, again) == []


def test_the_label_says_how_to_feed_it_and_the_census_what_it_costs(checkpoint: Checkpoint, file: Path) -> None:
    content, artefact, census = file.read_bytes(), read(file), FORMATS[".tflite"].census(file)
    assert artefact.card is not None
    assert artefact.card.classes == checkpoint.card.classes
    assert artefact.provenance is not None
    assert len(artefact.provenance.graph_sha256) == 64
    assert b"Feed float32 of shape (batch, 32, 32, 3): rows first" in content
    assert census.operators == {"CONV_2D": 3, "MAX_POOL_2D": 3, "FULLY_CONNECTED": 2}
    assert (census.parameters, census.macs) == (14_938, 471_648)
    assert (census.input_shape, census.output_shape) == (("batch", 32, 32, 3), (1, 10))


def test_an_operator_whose_name_holds_that_of_another_is_counted_as_its_own(tmp_path: Path) -> None:
    builder, path = Builder(), tmp_path / "square.tflite"
    image, square = builder.value((1, 2, 2, 3)), builder.value((1, 2, 2, 3))
    builder.operator(schema.BuiltinOperator.SQUARED_DIFFERENCE, [image, image], square)
    path.write_bytes(pack(builder.model({"x": image}, {"y": square})))
    census = FORMATS[".tflite"].census(path)
    assert (census.operators, census.macs) == ({"SQUARED_DIFFERENCE": 1}, 0)


def test_every_flipped_byte_of_the_file_is_noticed(file: Path, tmp_path: Path) -> None:
    content, path = file.read_bytes(), tmp_path / "flipped.tflite"
    everywhere = np.random.default_rng(0).integers(0, len(content), 150).tolist()
    for position in (*range(4, 400, 3), *everywhere):
        flipped = bytearray(content)
        flipped[position] ^= 0x40
        path.write_bytes(flipped)
        with pytest.raises(ExportError, match=r"flipped\.tflite"):
            read(path)


@pytest.mark.parametrize("left", [0, 3, 8, 100, 5000, 60_000, -1])
def test_a_file_cut_short_is_told(file: Path, tmp_path: Path, left: int) -> None:
    path = tmp_path / "short.tflite"
    path.write_bytes(file.read_bytes()[:left])
    with pytest.raises(ExportError, match=r"short\.tflite"):
        read(path)


def test_what_is_no_file_of_the_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"does not exist; give a \.tflite file"):
        read(tmp_path / "missing.tflite")
    with pytest.raises(ExportError, match=r"is a folder; give a \.tflite file"):
        read(tmp_path)


def bits(model: Any) -> None:
    model.buffers[2].data = model.buffers[2].data.copy()
    model.buffers[2].data[3] ^= 1


def label_gone(model: Any) -> None:
    model.metadata = model.metadata[1:]


def seal_gone(model: Any) -> None:
    model.metadata = model.metadata[:1]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (bits, "was altered since it was exported"),
        (label_gone, "there is no label"),
        (seal_gone, "written with a seal"),
        (lambda model: setattr(model, "metadata", None), "there is no label"),
        (lambda model: model.metadata.append(model.metadata[0]), "it has 2 of them"),
    ],
)
def test_an_altered_file_is_refused(file: Path, tmp_path: Path, change: Change, reason: str) -> None:
    with pytest.raises(ExportError, match=rf"other\.tflite: .*{reason}"):
        read(changed(file, tmp_path / "other.tflite", change))


def no_weight(model: Any) -> None:
    operator = model.subgraphs[0].operators[0]
    operator.inputs = operator.inputs[:1]


def still(model: Any) -> None:
    model.subgraphs[0].operators[0].builtinOptions.strideH = 0


def nowhere(model: Any) -> None:
    model.subgraphs[0].operators[0].inputs = [0, 10**6, 2]


def huge(model: Any) -> None:
    model.subgraphs[0].tensors[0].shape = [1, 2**20, 2**20, 3]
    model.subgraphs[0].tensors[0].shapeSignature = None


def no_output(model: Any) -> None:
    model.subgraphs[0].outputs = []


def unheard_of(model: Any) -> None:
    model.operatorCodes[0].builtinCode, model.operatorCodes[0].customCode = schema.BuiltinOperator.CUSTOM, "Mystery"
    model.operatorCodes[0].deprecatedBuiltinCode = schema.BuiltinOperator.CUSTOM


@pytest.mark.parametrize("change", [no_weight, still, nowhere, huge, no_output, unheard_of])
def test_a_hostile_graph_ends_in_a_message_with_the_path(file: Path, tmp_path: Path, change: Change) -> None:
    def both(model: Any) -> None:
        anonymous(model)
        change(model)

    with pytest.raises(ExportError, match=r"other\.tflite: "):
        read(changed(file, tmp_path / "other.tflite", both))


def test_a_foreign_file_runs_without_a_card(file: Path, tmp_path: Path, images: Tensor) -> None:
    def closed(model: Any) -> None:
        anonymous(model)
        model.subgraphs[0].tensors[0].shapeSignature = None

    foreign = read(changed(file, tmp_path / "foreign.tflite", closed))
    assert (foreign.card, foreign.provenance, foreign.batch) == (None, None, 1)
    assert torch.equal(foreign(images[:1]), read(file)(images[:1]))
    with pytest.raises(ExportError, match=r"takes float32 of shape \(1, 3, 32, 32\); got float32 of shape \(2, "):
        foreign(images[:2])


@pytest.fixture(scope="module")
def whole_numbers(checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A foreign file of quantized activations, cut where they become floats again."""
    folder, seen = tmp_path_factory.mktemp("codes"), noise(checkpoint.card)
    static = quantized_by(checkpoint, SCHEMES["static"], "edgepress quantize", rounding="nearest", images=[seen])
    path = ship(static, folder / "static.tflite", [seen]).artefact.path

    def cut_short(model: Any) -> None:
        anonymous(model)
        graph = model.subgraphs[0]
        ends = [at for at, one in enumerate(graph.operators) if graph.tensors[one.outputs[0]].type == FLOATS]
        graph.operators = graph.operators[: ends[0] + 1]
        graph.outputs = graph.operators[-1].outputs

    return changed(path, folder / "floats.tflite", cut_short)


def test_a_foreign_file_that_takes_and_gives_codes_is_asked_in_floats(
    whole_numbers: Path, tmp_path: Path, images: Tensor
) -> None:
    def bare(model: Any) -> None:
        graph = model.subgraphs[0]
        (given,), (taken,) = graph.inputs, graph.operators[0].outputs
        graph.tensors[taken].shapeSignature = graph.tensors[given].shapeSignature
        graph.inputs, graph.outputs = [taken], graph.operators[-1].inputs
        graph.operators = graph.operators[1:-1]

    coded, floats = read(changed(whole_numbers, tmp_path / "codes.tflite", bare)), read(whole_numbers)
    assert (coded.dtype, coded.input) == ("int8", "float32")
    assert torch.equal(coded(images), floats(images))
    call: Any = coded.bind(images[:2].numpy())
    call.feed(images[2:4].numpy())
    call()
    codes = call.interpreter.get_tensor(call.output)
    assert codes.dtype == np.int8
    scale, zero = call.interpreter.get_output_details()[0]["quantization"]
    assert torch.equal(torch.from_numpy(scale * (codes.astype(np.float32) - zero)), floats(images[2:4]))
    seen, reasons = starts({0: Opened(coded.path, images[:1].numpy())}, tmp_path, threads=1)
    assert (list(seen), reasons) == ([0], {})


def test_a_foreign_file_that_takes_pixels_is_given_them_as_they_are(whole_numbers: Path, tmp_path: Path) -> None:
    def pixels(model: Any) -> None:
        given = model.subgraphs[0].tensors[0]
        given.type, given.quantization = schema.TensorType.UINT8, schema.QuantizationParametersT()
        given.quantization.scale, given.quantization.zeroPoint = [1 / 127.5], [128]

    taken, floats = read(changed(whole_numbers, tmp_path / "pixels.tflite", pixels)), read(whole_numbers)
    assert (taken.dtype, taken.input) == ("uint8", "uint8")
    seen = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    expected = floats((seen.float() - 128) / 127.5)
    torch.testing.assert_close(taken(seen), expected, atol=0.1 * float(expected.std()), rtol=0)


def test_nothing_is_written_to_the_terminal(file: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    read(file)
    with pytest.raises(ExportError):
        read(changed(file, tmp_path / "other.tflite", lambda model: (anonymous(model), still(model))))
    assert capfd.readouterr() == ("", "")


def test_verify_finds_what_was_changed(checkpoint: Checkpoint, file: Path, tmp_path: Path, images: Tensor) -> None:
    assert [claim.verdict for claim in verify(file, checkpoint, [images[:8]])] == ["ok"] * 5
    path = changed(file, tmp_path / "other.tflite", bits)
    claims = verify(path, checkpoint, [images[:8]])
    assert [claim.verdict for claim in claims[:4]] == ["FAILED", "ok", "ok", "FAILED"]
    assert "the values of 1 of 10 stored tensors (the first is of shape 8 x 3 x 3 x 3)" in claims[3].sentence


def made(name: str, size: tuple[int, int], task: str = "classification") -> Checkpoint:
    """A network whose batch-norm has seen data."""
    architecture = Architecture(name, 4, 3, size)
    network = build(architecture, seed=1)
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(0)  # of dropout and stochastic depth, too
        network.model.train()(torch.randn(8, 3, *size) * 2 + 1)
    network.model.eval()
    return Checkpoint(network, Card(architecture, Preprocessing(size, 3, (0.5,) * 3, (0.5,) * 3), tuple("abcd"), task))


def agrees(checkpoint: Checkpoint, path: Path) -> Artefact:
    card = checkpoint.card
    shipped = ship(checkpoint, path, [noise(card, 5)])
    assert shipped.parity.max_abs_difference < shipped.parity.allowed_difference / 4
    assert (
        FORMATS[".tflite"].census(path).macs <= network_census(checkpoint.network, (3, *card.preprocessing.size)).macs
    )
    return shipped.artefact


def test_a_pruned_network(tmp_path: Path) -> None:
    whole = made("cnn-a", (32, 32))
    network, cuts = prune(whole.network, blank_image(whole.card), 0.5)
    assert len(cuts) > 0
    agrees(Checkpoint(network, replace(whole.card, edits=tuple(cuts))), tmp_path / "n.tflite")


def test_masks_come_out_as_from_any_other_file(tmp_path: Path) -> None:
    checkpoint = made("unet-resnet10", (32, 64), "segmentation")
    artefact = agrees(checkpoint, tmp_path / "n.tflite")
    assert artefact(noise(checkpoint.card, 3)).shape == (3, 4, 32, 64)
    assert b"logits of shape (batch, 32, 64, 4)" in artefact.path.read_bytes()


@pytest.mark.parametrize(
    "name",
    [
        "torchvision:mobilenet_v3_small",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("resnet18", "torchvision:resnet18", "torchvision:mobilenet_v2", "torchvision:efficientnet_b0")
        ),
    ],
)
def test_networks_of_others(name: str, tmp_path: Path) -> None:
    agrees(made(name, (32, 32)), tmp_path / "n.tflite")


def test_the_label_is_the_one_of_the_onnx_file_but_for_the_layout(file: Path, exported: Artefact) -> None:
    content = file.read_bytes()
    start = content.index(b'{"format"')
    label, _ = json.JSONDecoder().raw_decode(content[start:].decode("utf-8", "ignore"))
    assert exported.card is not None
    assert label["card"]["classes"] == list(exported.card.classes)
    assert set(label) == {"format", "card", "preprocessing", "provenance"}
