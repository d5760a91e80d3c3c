from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import Tensor

from compress.checkpoint import Checkpoint
from compress.errors import ExportError
from exports import Artefact
from exports.run_onnx import read


def foreign(path: Path, *shape: int | str | None, inputs: int = 1, kind: int = TensorProto.FLOAT) -> Path:
    """A model of another tool: y = relu of its first input."""
    values = [helper.make_tensor_value_info(f"data{n}", kind, shape) for n in range(inputs)]
    output = helper.make_tensor_value_info("y", kind, None)
    node = helper.make_node("Sum", [value.name for value in values], ["y"])
    graph = helper.make_graph([node], "graph", values, [output])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    return path


def test_an_exported_file_reads_back_as_it_was_exported(
    checkpoint: Checkpoint, exported: Artefact, images: Tensor
) -> None:
    again = read(exported.path, threads=2)
    assert replace(again, threads=1, runner=exported.runner) == exported
    assert again.sha256 == hashlib.sha256(exported.path.read_bytes()).hexdigest()
    assert (again.layout, again.dtype, again.batch, again.image_shape) == ("NCHW", "float32", None, (3, 32, 32))
    assert again.card is not None
    assert again.card.architecture == checkpoint.card.architecture
    assert torch.allclose(again(images), exported(images), atol=1e-6)


def test_images_that_are_not_contiguous_or_need_gradients_run(exported: Artefact, images: Tensor) -> None:
    turned = images[:2].transpose(2, 3)
    assert torch.equal(exported(turned), exported(turned.contiguous().requires_grad_()))


def test_a_bound_run_computes_the_logits_into_its_buffer(exported: Artefact, images: Tensor) -> None:
    run = exported.bind(images[:1].numpy())
    assert run() is None
    assert run() is None
    logits = run.target.numpy()  # type: ignore[attr-defined]
    assert torch.equal(torch.from_numpy(logits), exported(images[:1]))


def test_a_bound_run_takes_other_images_in_place_of_its_first(exported: Artefact, images: Tensor) -> None:
    run = exported.bind(images[:1].clone().numpy())
    run.feed(images[1:2].numpy())
    run()
    assert torch.equal(torch.from_numpy(run.target.numpy()), exported(images[1:2]))  # type: ignore[attr-defined]


@pytest.mark.parametrize("shape", [(1, 1, 32, 32), (1, 3, 28, 28), (3, 32, 32), (1, 3, 32, 32, 1), (2, 3072)])
def test_images_of_another_shape_are_refused(exported: Artefact, shape: tuple[int, ...]) -> None:
    for call in (lambda: exported(torch.zeros(shape)), lambda: exported.bind(np.zeros(shape, np.float32))):
        with pytest.raises(ExportError) as caught:
            call()
        assert "(any, 3, 32, 32)" in str(caught.value)
        assert str(shape) in str(caught.value)


def test_images_of_another_type_are_refused(exported: Artefact) -> None:
    with pytest.raises(ExportError, match="got float64"):
        exported(torch.zeros(1, 3, 32, 32, dtype=torch.float64))


def test_a_foreign_model_is_a_callable_without_card(tmp_path: Path) -> None:
    model = read(foreign(tmp_path / "foreign.onnx", "n", 3, "h", None))
    assert (model.card, model.provenance) == (None, None)
    assert model.image_shape == (3, None, None)
    image = torch.rand(2, 3, 5, 7)
    assert torch.equal(model(image), image)


def test_a_batch_size_fixed_in_a_foreign_model_is_told(tmp_path: Path) -> None:
    model = read(foreign(tmp_path / "foreign.onnx", 1, 3, 4, 4))
    with pytest.raises(ExportError, match=r"\(1, 3, 4, 4\); got float32 of shape \(2, 3, 4, 4\)"):
        model(torch.zeros(2, 3, 4, 4))


def test_a_foreign_model_of_another_type_is_told(tmp_path: Path) -> None:
    model = read(foreign(tmp_path / "half.onnx", "n", 3, 4, 4, kind=TensorProto.DOUBLE))
    with pytest.raises(ExportError, match=r"takes float64"):
        model(torch.zeros(2, 3, 4, 4))


def test_a_model_of_two_inputs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="takes 2 inputs"):
        read(foreign(tmp_path / "two.onnx", "n", 3, 4, 4, inputs=2))


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="does not exist"):
        read(tmp_path / "nowhere.onnx")
    with pytest.raises(ExportError, match="is a folder"):
        read(tmp_path)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 a zip", b"hello\n" * 100, bytes(1000)])
def test_what_is_not_onnx_is_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str], content: bytes) -> None:
    path = tmp_path / "odd.onnx"
    path.write_bytes(content)
    with pytest.raises(ExportError, match=r"odd\.onnx: is not an ONNX model.*or is damaged"):
        read(path)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("share", [0.01, 0.5, 0.999])
def test_a_truncated_file_is_refused(exported: Artefact, tmp_path: Path, share: float) -> None:
    content = exported.path.read_bytes()
    path = tmp_path / "cut.onnx"
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ExportError, match="damaged"):
        read(path)


@pytest.mark.parametrize(
    "text",
    ["not json", "[]", "{}", '{"card": {}, "provenance": {}}', "null", '{"card": null, "provenance": {"opset": 1}}'],
)
def test_damaged_metadata_are_told(graph: onnx.ModelProto, changed: Path, text: str) -> None:
    graph.metadata_props[0].value = text
    onnx.save(graph, changed)
    with pytest.raises(ExportError, match=r"changed\.onnx: its edgepress metadata are damaged"):
        read(changed)


def test_provenance_of_another_form_is_told(graph: onnx.ModelProto, changed: Path) -> None:
    data = json.loads(graph.metadata_props[0].value)
    data["provenance"] = {"opset": 20}
    graph.metadata_props[0].value = json.dumps(data)
    onnx.save(graph, changed)
    with pytest.raises(ExportError, match="damaged"):
        read(changed)


def test_threads_start_at_one(exported: Artefact) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        read(exported.path, threads=0)
